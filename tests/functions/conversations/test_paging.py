"""A cursor holds a time to the microsecond and an id. Any other text is refused."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.conversations.paging import Cursor
from shared.errors import InvalidRequest


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_a_cursor_is_parsed_to_the_same_value(at, row_id):
    assert Cursor.parse(str(Cursor(at, row_id))) == Cursor(at, row_id)


def test_a_cursor_needs_no_escaping_in_a_query_string():
    at = datetime(2026, 11, 21, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=2)))
    text = str(Cursor(at, UUID(int=2**128 - 1)))
    assert text == "AAZgxmx6KAH_____________________"
    assert Cursor.parse(text).at == at


@given(st.text())
def test_any_other_text_is_refused(text):
    with pytest.raises(InvalidRequest, match="cursor"):
        assert str(Cursor.parse(text)) != text


def test_a_time_outside_the_calendar_is_refused():
    for text in ("f" + "_" * 31, "gAAAAAAA" + "A" * 24):
        with pytest.raises(InvalidRequest):
            Cursor.parse(text)
