"""The usage view and its CSV files."""

import csv
from pathlib import Path
from uuid import uuid4

from playwright.sync_api import expect

from tests.web.browser import needs_chromium

pytestmark = needs_chromium


def log_usage(database, user_id, days_ago: int, model: str, tokens: int, usd: str) -> None:
    database.rows(
        "insert into usage_logs (id, user_id, message_id, provider, model, tokens_in, tokens_out, cost_usd,"
        " priced, status, duration_ms, created_at)"
        " values (gen_random_uuid(), %s, gen_random_uuid(), 'openai', %s, %s, %s, %s,"
        " true, 'complete', 1000, now() - make_interval(days => %s))",
        (user_id, model, tokens, tokens // 2, usd, days_ago),
    )


def test_usage_is_shown_by_day_and_model_and_saved_as_csv(chat, database, tmp_path: Path):
    user_id = uuid4()
    log_usage(database, user_id, 0, "large", 1000, "0.50")
    log_usage(database, user_id, 2, "large", 2000, "1.25")
    log_usage(database, user_id, 2, "=small", 300, "0.01")
    tab = chat.open(user_id=user_id)
    tab.page.get_by_role("button", name="Usage").click()
    dialog = tab.page.get_by_role("dialog")
    expect(dialog).to_contain_text("$1.76")
    expect(dialog.locator("svg[role=img]")).to_be_visible()
    expect(dialog.get_by_text("openai/large").first).to_be_visible()

    saved = []
    for part in ("day", "model"):
        with tab.page.expect_download() as download:
            dialog.locator(f"section[data-part={part}]").get_by_role("button").click()
        path = tmp_path / f"{part}.csv"
        download.value.save_as(path)
        saved.append(list(csv.DictReader(path.read_text("utf-8-sig").splitlines())))
    by_day, by_model = saved
    assert sorted(float(row["cost_usd"]) for row in by_day) == [0.5, 1.26]
    assert {row["tokens_in"] for row in by_day} == {"1000", "2300"}
    assert {row["model"]: row["turns"] for row in by_model} == {"openai/large": "2", "openai/=small": "1"}

    dialog.get_by_label("Period").select_option("7")
    dialog.get_by_label("Shown").select_option("tokens")
    expect(dialog).to_contain_text("3.5K")
    dialog.locator("section[data-part=day] summary").click()
    expect(dialog.get_by_role("cell", name="$1.26")).to_be_visible()
    tab.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_without_usage_the_dialog_shows_a_note(chat):
    tab = chat.open()
    tab.page.get_by_role("button", name="Usage").click()
    expect(tab.page.locator("#usage-content")).not_to_be_empty()
    tab.page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(tab.page.get_by_role("dialog")).to_be_hidden()
