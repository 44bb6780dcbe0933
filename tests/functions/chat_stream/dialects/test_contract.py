"""Rules for every dialect: a turn has the same text in each, exactly one end, and the bytes of a golden file.

The files in `golden` are compared byte for byte. After an intended change run `GOLDEN=rewrite make test`
and review the difference.
"""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.chat_stream.dialects import DIALECTS
from shared import errors, sse
from shared.errors import TAKING_A_MOMENT
from shared.events import Event, Failed, Finished, ReasoningDelta, Started, TextDelta, Usage
from tests.functions.chat_stream.dialects.scripts import CASES, MESSAGE_ID, META, SCRIPTS, read

GOLDEN = Path(__file__).parent / "golden"
names = pytest.mark.parametrize("name", CASES)


def text_of(events):
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_every_dialect_has_a_case():
    assert {type(case.dialect) for case in CASES.values()} == {type(dialect) for dialect in DIALECTS}
    assert len({dialect.route for dialect in DIALECTS}) == len(DIALECTS)


@pytest.mark.parametrize("script", SCRIPTS)
@names
def test_a_stream_has_the_whole_text_and_one_end(name, script):
    events = SCRIPTS[script]
    found = read(name, b"".join(CASES[name].write(events)))
    assert found.text == text_of(events)
    assert found.ends == ["error" if isinstance(events[-1], Failed) else "good"]


@names
def test_the_bytes_equal_the_golden_file(name):
    written = "".join(
        f"=== {script}\n\n{b''.join(CASES[name].write(events)).decode()}"
        for script, events in SCRIPTS.items()
    )
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "rewrite":
        golden.write_text(written, "utf-8", newline="")
    assert written == golden.read_text("utf-8")


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
contents = st.builds(TextDelta, texts) | st.builds(ReasoningDelta, texts) | st.just(Usage(1, 2))
ends = st.sampled_from([events[-1] for events in SCRIPTS.values()])


@st.composite
def groupings(draw):
    events = [Started(MESSAGE_ID), *draw(st.lists(contents, max_size=12)), draw(ends)]
    cuts = sorted(draw(st.lists(st.integers(0, len(events)), max_size=6)))
    return [events[start:end] for start, end in zip([0, *cuts], [*cuts, len(events)], strict=True)]


@names
@given(groups=groupings())
def test_the_grouping_of_events_does_not_change_the_bytes(name, groups):
    events = [event for group in groups for event in group]
    separate = b"".join(CASES[name].write(*groups))
    together = b"".join(CASES[name].write(events))
    assert separate == together
    assert read(name, together).text == text_of(events)


@names
@given(groups=groupings())
def test_a_client_ignores_heartbeats_between_writes(name, groups):
    written = CASES[name].write(*groups)
    assert read(name, sse.HEARTBEAT.join(written)) == read(name, b"".join(written))


@pytest.mark.parametrize("script", SCRIPTS)
@names
def test_an_event_has_one_line_of_data(name, script):
    """Also for clients that split lines at more characters than the standard says."""
    data = b"".join(CASES[name].write(SCRIPTS[script])).decode()
    assert data.splitlines() == data.removesuffix("\n").split("\n")
    for block in data.removesuffix("\n\n").split("\n\n"):
        *fields, last = block.split("\n")
        assert last.startswith("data: ")
        assert all(field.startswith(("id: ", "event: ")) for field in fields)
        assert any(field.startswith("id: ") for field in fields) <= (name == "chat-stream")


@names
def test_a_client_does_not_get_the_developer_message_of_an_error(name):
    broken = Failed("upstream_invalid", "for developers only", retryable=True)
    data = b"".join(CASES[name].write([Started(MESSAGE_ID), broken]))
    assert b"for developers only" not in data
    assert TAKING_A_MOMENT in data.decode()


@names
def test_reasoning_is_not_part_of_the_text(name):
    events: list[Event] = [Started(MESSAGE_ID), ReasoningDelta("secret"), TextDelta("said"), Finished("stop")]
    data = b"".join(CASES[name].write(events))
    assert read(name, data).text == "said"
    assert (b"secret" in data) == (name == "ui")


@names
def test_a_refusal_has_the_message_and_the_field(name):
    error = errors.InvalidRequest("model must be one of a, b", field="model")
    body = CASES[name].dialect.error(error)
    if name.startswith("openai"):
        assert body == {
            "error": {
                "message": "model must be one of a, b",
                "type": "invalid_request_error",
                "param": "model",
                "code": "invalid_request",
            }
        }
    else:
        assert body == {
            "error": "model must be one of a, b",
            "code": "invalid_request",
            "userMessage": TAKING_A_MOMENT,
            "field": "model",
        }


@names
def test_only_the_native_format_adds_the_offset_to_event_ids(name):
    case = CASES[name]
    events: list[Event] = [TextDelta("Good"), Finished("stop")]
    whole = case.dialect.encoder(case.request, META).encode(events)
    rest = case.dialect.encoder(case.request, META, 3).encode(events)
    assert rest == (whole.replace(b"id: 4", b"id: 7") if name == "chat-stream" else whole)
