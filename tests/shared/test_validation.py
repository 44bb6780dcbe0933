"""find_error accepts and refuses the same bodies as msgspec, for the bodies of all routes."""

import json
import re
import time
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Meta, Struct, UnsetType, structs

from dev import openapi
from functions.chat_stream.dialects import ai_sdk, named_events, native, openai_chat, stateless, web_app
from functions.conversations import archive, schemas
from shared.ids import RequestId, decode_hook
from shared.validation import find_error

BODIES: dict[str, type[Struct]] = {
    "/api/chat": web_app.Body,
    "/chat-stream": native.Body,
    "/v1/chat/completions": openai_chat.Body,
    "/api/stream": named_events.Body,
    "/stream-chat": stateless.Body,
    "/api/ui/chat": ai_sdk.Body,
    "a new conversation": schemas.NewConversation,
    "a patch of a conversation": schemas.ConversationPatch,
    "a message": schemas.NewMessage,
    "a claim": schemas.Claim,
    "an archive": archive.Archive,
}
# Values near the bounds of types, and of types that JSON or Python can confuse.
SCALARS = [
    None, True, False, 0, -1, 1, 2, 3, 1.0, 0.5, 2.1, -0.0, 100, 101, 1_000_000, 1_000_001, 10**400, 1e308,
    "", " ", "x", "x" * 50, "x" * 51, "x" * 200, "x" * 201, "\U0001f600" * 200,
    "user", "assistant", "system", "developer", "streaming", "complete", "submit-message",
    "serverless-chat/1", "7c9e6679-7425-40de-944b-e07fc1f90ae7", "7c9e6679742540de944be07fc1f90ae7",
    "{7c9e6679-7425-40de-944b-e07fc1f90ae7}", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01",
]  # fmt: skip


LEAVES = st.sampled_from(SCALARS) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)


def containers_of(values):
    return st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3)


ANY = LEAVES | containers_of(LEAVES | containers_of(LEAVES))


def test_the_bodies_of_all_routes_are_checked():
    types = [endpoint.body.type for endpoint in openapi.endpoints() if endpoint.body]
    assert set(types) == set(BODIES.values())


def names_of(struct: type[Struct]) -> dict[str, structs.FieldInfo]:
    return {field.encode_name: field for field in structs.fields(struct)}


def hints_of(struct: type[Struct]) -> dict[str, Any]:
    hints = get_type_hints(struct, include_extras=True)
    return {name: hints[field.name] for name, field in names_of(struct).items()}


def members_of(hint: Any) -> list[Any]:
    """The types of a union, without its annotations."""
    if get_origin(hint) is Annotated:
        return members_of(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return [member for each in get_args(hint) for member in members_of(each)]
    return [hint]


def struct_of(hint: Any) -> type[Struct] | None:
    structs_ = [each for each in members_of(hint) if isinstance(each, type) and issubclass(each, Struct)]
    return structs_[0] if structs_ else None


def item_of(hint: Any) -> Any:
    lists = [each for each in members_of(hint) if get_origin(each) is list]
    return get_args(lists[0])[0] if lists else None


def values_of(hint: Any):
    """JSON values for a type, most of them of the right shape."""
    choices: list[Any] = [st.sampled_from(SCALARS)]
    if struct := struct_of(hint):
        choices += [object_of(struct)] * 4
    if item := item_of(hint):
        choices += [st.lists(values_of(item), max_size=3)] * 4
    if any(get_origin(each) is dict for each in members_of(hint)):
        choices += [st.dictionaries(st.text(max_size=3), ANY, max_size=2)] * 2
    return st.one_of(choices)


def object_of(struct: type[Struct]):
    hints = {name: values_of(hint) for name, hint in hints_of(struct).items()}
    required = {name: hints.pop(name) for name, field in names_of(struct).items() if field.required}
    # Some objects lack a required field or have an unknown one.
    whole = st.fixed_dictionaries(required, optional=hints | {"unknown": ANY})
    return st.one_of(whole, whole, st.fixed_dictionaries({}, optional=required | hints))


def is_accepted(body: bytes, shape: Any) -> bool:
    try:
        msgspec.json.decode(body, type=shape, dec_hook=decode_hook)
    except msgspec.ValidationError:
        return False
    return True


def check_against_msgspec(value: Any, shape: type[Struct]) -> None:
    body = json.dumps(value).encode()
    error = find_error(json.loads(body), shape)
    assert (error is None) == is_accepted(body, shape), error
    if error and error.field:
        assert is_invalid(value, shape, error.field), error.field
    elif error:
        assert not isinstance(value, dict)


def is_invalid(value: Any, hint: Any, field: str) -> bool:
    """Whether the value at `field` does not match the type at `field`."""
    for step in re.findall(r"\[(\d+)\]|([^.\[\]]+)", field):
        index, name = step
        if index:
            value, hint = value[int(index)], item_of(hint)
        elif name not in value:
            return names_of(struct_of(hint))[name].required  # type: ignore[arg-type]
        else:
            value, hint = value[name], hints_of(struct_of(hint))[name]  # type: ignore[arg-type]
    return not is_accepted(json.dumps({"value": value}).encode(), holder_of(hint))


def holder_of(hint: Any) -> type[Struct]:
    """A body with one field, because a type with UNSET is allowed in a field only."""
    return msgspec.defstruct("Holder", [("value", hint, UNSET if UnsetType in members_of(hint) else None)])


@pytest.mark.parametrize("shape", BODIES.values(), ids=BODIES)
def test_bodies_of_the_right_shape_get_the_same_result_as_from_msgspec(shape):
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(object_of(shape))
    def check(value):
        check_against_msgspec(value, shape)

    check()


@pytest.mark.parametrize("shape", BODIES.values(), ids=BODIES)
def test_other_json_values_get_the_same_result_as_from_msgspec(shape):
    @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(ANY)
    def check(value):
        check_against_msgspec(value, shape)

    check()


TEXT = "a string of at most 32000 characters"


@pytest.mark.parametrize("length", [32_000, 32_001])
def test_the_longest_text_gets_the_same_result_as_from_msgspec(length):
    check_against_msgspec({"message": "x" * length}, native.Body)


def error_message(body: str, shape: type[Struct]) -> str:
    error = find_error(json.loads(body), shape)
    assert error
    return error.message


@pytest.mark.parametrize(
    ("body", "shape", "message"),
    [
        (
            '{"messages": [{"role": "tool", "content": ""}]}',
            stateless.Body,
            "messages[0].role must be one of system, user, assistant",
        ),
        ('{"messages": []}', web_app.Body, "messages must be an array of at least 1 items"),
        (
            '{"message": "", "maxTokens": 0}',
            native.Body,
            "maxTokens must be an integer from 1 to 1000000",
        ),
        (
            '{"message": "", "maxTokens": "9"}',
            native.Body,
            "maxTokens must be an integer from 1 to 1000000",
        ),
        ('{"message": "", "temperature": 3}', native.Body, "temperature must be a number from 0 to 2"),
        ('{"message": "", "conversationId": "a"}', native.Body, "conversationId must be a UUID"),
        ('{"temperature": 1}', native.Body, "message is missing"),
        ('{"message": null}', native.Body, f"message must be {TEXT}"),
        ('{"token": ""}', schemas.Claim, "token must be a string of 1 to 8192 characters"),
        (
            '{"title": " "}',
            schemas.ConversationPatch,
            "title must be a string of 1 to 200 characters that is not blank",
        ),
        (
            '{"tags": [1]}',
            schemas.ConversationPatch,
            "tags[0] must be a string of 1 to 50 characters that is not blank",
        ),
        ('{"role": "user", "content": "a", "status": "x"}', schemas.NewMessage, "status must be null"),
        (
            '{"role": "user", "content": "a", "metadata": []}',
            schemas.NewMessage,
            "metadata must be an object",
        ),
        (
            '{"role": "user", "content": "a", "metadata": {"a": [1e400]}}',
            schemas.NewMessage,
            "metadata has a number out of range",
        ),
        ('{"format": "x"}', archive.Archive, "format must be serverless-chat/1"),
        (
            '{"format": "serverless-chat/1", "conversation": {"created_at": "2026-01-01"}}',
            archive.Archive,
            "conversation.created_at must be a time in ISO 8601 with a time zone",
        ),
        (
            '{"messages": [{"status": "new"}]}',
            archive.Archive,
            "messages[0].status must be one of streaming, complete, cancelled, interrupted, error",
        ),
        ('{"messages": [{"status": "complete"}]}', archive.Archive, "messages[0].id is missing"),
        (
            '{"model": "m", "messages": [{"content": 1}]}',
            openai_chat.Body,
            f"messages[0].content must be {TEXT} or an array of at most 200 items",
        ),
        (
            '{"model": "m", "messages": [], "stream": 1}',
            openai_chat.Body,
            "messages must be an array of at least 1 items",
        ),
        ('{"model": "m", "stream": 1}', openai_chat.Body, "stream must be true or false"),
        ("[]", web_app.Body, "the body must be a JSON object"),
    ],
)
def test_an_error_says_what_the_field_must_be(body, shape, message):
    assert error_message(body, shape) == message


def test_an_error_at_the_end_of_a_body_of_1_mb_is_found_fast():
    value = {"model": "m", "messages": [{"role": "a"}] * 79_000 + [1]}
    start = time.process_time()
    error = find_error(value, openai_chat.Body)
    assert error
    assert error.field == "messages[79000]"
    # It takes 0.2 s on a slow machine, and 10 s without the cache of the fields.
    assert time.process_time() - start < 3


class Bounds(Struct):
    least: Annotated[int, Meta(ge=3)] = 3
    most: Annotated[float, Meta(lt=5)] = 0
    either: Annotated[str, Meta(min_length=2)] | Annotated[int, Meta(le=7)] = 0
    kind: Literal["a"] | None = None
    id: RequestId | None = None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"least": 2}', "least must be an integer that is at least 3"),
        ('{"most": 5.0}', "most must be a number that is less than 5"),
        ('{"most": -1e400}', "most must be a number that is less than 5"),
        ('{"most": -1%s}' % ("0" * 400), "most must be a number that is less than 5"),
        ('{"either": "a"}', "either must be a string of at least 2 characters"),
        ('{"either": 8}', "either must be an integer that is at most 7"),
        (
            '{"either": []}',
            "either must be a string of at least 2 characters or an integer that is at most 7",
        ),
        ('{"kind": "b", "id": 1}', "kind must be a"),
        ('{"id": 1, "kind": "b"}', "id must be a UUID"),
    ],
)
def test_an_error_names_the_bounds_of_the_type_that_was_sent(body, message):
    assert error_message(body, Bounds) == message
