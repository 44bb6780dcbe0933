"""What holds for every dialect: the same turn has the same text, exactly one end, and these bytes.

The files in `golden` are compared letter for letter. After a change that is meant:
`GOLDEN=rewrite make test`, and then read the difference.
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
from tests.functions.chat_stream.dialects.scripts import CASES, HEAD, MESSAGE_ID, SCRIPTS, read

GOLDEN = Path(__file__).parent / "golden"
names = pytest.mark.parametrize("name", CASES)


def text_of(events):
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_every_dialect_is_under_contract():
    assert {type(case.dialect) for case in CASES.values()} == {type(dialect) for dialect in DIALECTS}
    assert len({dialect.route for dialect in DIALECTS}) == len(DIALECTS)


@pytest.mark.parametrize("script", SCRIPTS)
@names
def test_the_text_is_all_there_and_the_end_is_one(name, script):
    events = SCRIPTS[script]
    found = read(name, b"".join(CASES[name].write(events)))
    assert found.text == text_of(events)
    assert found.ends == ["error" if isinstance(events[-1], Failed) else "good"]


@names
def test_the_bytes_are_those_of_the_golden_file(name):
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
def test_how_events_are_grouped_changes_no_byte(name, groups):
    events = [event for group in groups for event in group]
    apart = b"".join(CASES[name].write(*groups))
    together = b"".join(CASES[name].write(events))
    assert apart == together
    assert read(name, together).text == text_of(events)


@names
@given(groups=groupings())
def test_a_heartbeat_between_two_writes_is_not_seen(name, groups):
    written = CASES[name].write(*groups)
    assert read(name, sse.HEARTBEAT.join(written)) == read(name, b"".join(written))


@pytest.mark.parametrize("script", SCRIPTS)
@names
def test_an_event_is_one_line_of_data(name, script):
    """In the eyes, too, of clients that know more line ends than the standard."""
    data = b"".join(CASES[name].write(SCRIPTS[script])).decode()
    assert data.splitlines() == data.removesuffix("\n").split("\n")
    for block in data.removesuffix("\n\n").split("\n\n"):
        *fields, last = block.split("\n")
        assert last.startswith("data: ")
        assert all(field.startswith(("id: ", "event: ")) for field in fields)
        assert any(field.startswith("id: ") for field in fields) <= (name == "chat-stream")


@names
def test_a_client_is_never_told_what_is_for_developers(name):
    broken = Failed("upstream_invalid", "for developers only", retryable=True)
    data = b"".join(CASES[name].write([Started(MESSAGE_ID), broken]))
    assert b"for developers only" not in data
    assert TAKING_A_MOMENT in data.decode()


@names
def test_thinking_is_never_mixed_into_the_text(name):
    events: list[Event] = [Started(MESSAGE_ID), ReasoningDelta("secret"), TextDelta("said"), Finished("stop")]
    data = b"".join(CASES[name].write(events))
    assert read(name, data).text == "said"
    assert (b"secret" in data) == (name == "ui")


@names
def test_a_refusal_says_what_is_wrong(name):
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
def test_only_the_native_format_goes_on_at_an_offset(name):
    case = CASES[name]
    events: list[Event] = [TextDelta("Good"), Finished("stop")]
    whole = case.dialect.encoder(case.ask, HEAD).encode(events)
    rest = case.dialect.encoder(case.ask, HEAD, 3).encode(events)
    assert rest == (whole.replace(b"id: 4\n", b"id: 7\n") if name == "chat-stream" else whole)
