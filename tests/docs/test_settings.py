"""docs/settings.md describes every setting that the code reads."""

import re
from pathlib import Path

from dev import settings_page

ROOT = Path(__file__).parent.parent.parent


def test_the_page_of_settings_is_up_to_date():
    assert settings_page.PAGE.read_text("utf-8") == settings_page.page(), "run `make docs`"


def test_the_meaning_of_each_setting_is_a_sentence():
    for setting in settings_page.all_settings():
        assert re.fullmatch(r"[A-Z`h].{8,}\.", setting.meaning, re.DOTALL), setting.name


def test_the_page_has_each_setting_of_the_template():
    on_page = {setting.name for setting in settings_page.all_settings()}
    template = (ROOT / "infra" / "template.yaml").read_text("utf-8")
    in_template = set(re.findall(r"^ {8,}([A-Z][A-Z0-9_]+): ", template, re.MULTILINE))
    runtime_settings = {name for name in in_template if name.startswith(("AWS_LAMBDA_", "PYTHON"))}
    assert len(in_template) > 20
    assert in_template - runtime_settings <= on_page
