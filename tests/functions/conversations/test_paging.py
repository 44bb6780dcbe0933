"""A cursor keeps its place to the microsecond, and nothing else passes for one."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.conversations.paging import Cursor
from shared.errors import InvalidRequest


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_a_place_comes_back_as_it_was(at, row_id):
    assert Cursor.parse(str(Cursor(at, row_id))) == Cursor(at, row_id)


def test_it_can_stand_in_a_query_string_as_it_is():
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
