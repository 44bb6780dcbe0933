"""docs/settings.md has every setting that the code reads."""

import re
from pathlib import Path

from dev import settings_page

ROOT = Path(__file__).parent.parent.parent


def test_the_page_of_settings_is_the_one_that_the_code_makes():
    assert settings_page.PAGE.read_text("utf-8") == settings_page.page(), "run `make docs`"


def test_each_setting_says_what_it_means_in_a_sentence():
    for setting in settings_page.all_settings():
        assert re.fullmatch(r"[A-Z`h].{8,}\.", setting.meaning, re.DOTALL), setting.name


def test_the_page_names_each_setting_that_the_template_gives_a_function():
    named = {setting.name for setting in settings_page.all_settings()}
    template = (ROOT / "infra" / "template.yaml").read_text("utf-8")
    given = set(re.findall(r"^ {8,}([A-Z][A-Z0-9_]+): ", template, re.MULTILINE))
    of_the_runtime = {name for name in given if name.startswith(("AWS_LAMBDA_", "PYTHON"))}
    assert len(given) > 20
    assert given - of_the_runtime <= named
