"""Refuses fields that would change the answer and that a dialect does not support.

Each dialect has a table: the names of these fields, each with the values that change nothing. null never
changes anything. A field that is in no table is ignored, because clients send many fields that do not concern
the answer.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, Struct

from shared.errors import InvalidRequest

# The name of a field, and the values that change nothing.
FieldTable: TypeAlias = Mapping[str, Sequence[Any]]

# From the APIs of OpenAI, Anthropic, Ollama, vLLM, llama.cpp, OpenRouter and the AI SDK. `seed` is missing,
# because providers promise nothing for it. Each name also stands for its spelling in camel case.
_REQUEST_FIELDS: FieldTable = {
    # The question and its context.
    "message": [""], "messages": [[]], "prompt": [""], "input": ["", []], "history": [[]],
    "system": [""], "system_prompt": [""], "instructions": [""], "domain": [],
    "files": [[]], "images": [[]], "attachments": [[]], "experimental_attachments": [[]],
    # The model.
    "model_id": [], "model_name": [], "models": [[]], "selected_model": [], "selected_chat_model": [],
    "provider": [{}],
    # Sampling.
    "temperature": [], "top_p": [1], "top_k": [0, -1], "min_p": [0], "typical_p": [1], "n": [1],
    "presence_penalty": [0], "frequency_penalty": [0], "repetition_penalty": [1], "repeat_penalty": [1],
    "logit_bias": [{}], "mirostat": [0], "best_of": [1], "use_beam_search": [False],
    # The length.
    "max_tokens": [], "max_completion_tokens": [], "max_output_tokens": [], "num_predict": [],
    "min_tokens": [0], "ignore_eos": [False], "stop": [[], ""], "stop_sequences": [[]],
    # The format.
    "response_format": [{"type": "text"}], "logprobs": [False], "top_logprobs": [0], "modalities": [["text"]],
    "audio": [], "guided_json": [], "guided_regex": [], "guided_choice": [], "guided_grammar": [],
    "structured_outputs": [], "json_schema": [], "grammar": [""], "chat_template": [],
    "chat_template_kwargs": [{}],
    # Tools.
    "tools": [[], {}], "tool_choice": ["none", "auto"], "tool_results": [[]], "functions": [[]],
    "function_call": ["none", "auto"], "plugins": [[]], "web_search": [False], "web_search_options": [],
    "search_parameters": [],
    # Thinking.
    "reasoning": [False, {}], "reasoning_effort": [], "effort": [], "thinking": [False, {"type": "disabled"}],
    "think": [False], "enable_thinking": [False], "thinking_budget": [], "verbosity": ["medium"],
}  # fmt: skip

# Of one message.
MESSAGE_FIELDS: FieldTable = {
    "tool_calls": [[]],
    "tool_call_id": [],
    "function_call": [],
    "toolInvocations": [[]],
    "images": [[]],
    "files": [[]],
    "attachments": [[]],
    "experimental_attachments": [[]],
    "audio": [],
}
# For routes that store the turn: a wrong name of the conversation's id would begin another conversation.
CONVERSATION_IDS: FieldTable = {
    "conversation_id": [],
    "conversationId": [],
    "chat_id": [],
    "chatId": [],
}
# For routes that always send a stream.
ONLY_STREAMS: FieldTable = {"stream": [True]}


def _camel_case(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


def field_table(body: type[Struct], *others: FieldTable) -> FieldTable:
    """The table of a dialect: all known fields that change an answer, and those of `others`, without the
    fields of `body`, which the dialect supports."""
    table = {_camel_case(name): neutral for name, neutral in _REQUEST_FIELDS.items()}
    table.update(_REQUEST_FIELDS)
    for other in others:
        table.update(other)
    supported = {field.encode_name for field in msgspec.structs.fields(body)}
    return {name: neutral for name, neutral in table.items() if name not in supported}


def refuse_unsupported(body: bytes | Raw, table: FieldTable, prefix: str = "") -> None:
    """Raises InvalidRequest with the first field of a JSON object that the table refuses. `prefix` stands
    before the name of the field."""
    fields = msgspec.json.decode(body, type=dict[str, Raw])
    for name, content in fields.items():
        if name not in table:
            continue
        value = msgspec.json.decode(content)
        if value is not None and value not in table[name]:
            raise InvalidRequest(f"{prefix}{name} is not supported", field=prefix + name)


def refuse_unsupported_in_messages(
    body: bytes, table: FieldTable = MESSAGE_FIELDS, *, only_last: bool = False
) -> None:
    """Checks the messages of a request. `only_last`: the other messages are not used."""
    messages = msgspec.json.decode(body, type=_Messages).messages
    for number, message in enumerate(messages):
        if number == len(messages) - 1 or not only_last:
            refuse_unsupported(message, table, f"messages[{number}].")


class _Messages(Struct):
    messages: list[Raw]
