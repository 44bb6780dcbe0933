"""Shortens a request that does not fit into the context of its model."""

from msgspec import structs

from shared.errors import ContextLengthExceeded
from shared.llm.wire_format import ChatMessage, ChatRequest

# English has about four bytes in a token. Fewer bytes give a shorter prompt, which is safer.
_BYTES_PER_TOKEN = 3.0
# Templates add some tokens to each message.
_MESSAGE_BYTES = 16
# The part of the context that is kept free, because counts are estimates.
_MARGIN = 0.02
_LEAST_ANSWER_TOKENS = 256


def shorten(
    chat_request: ChatRequest, error: ContextLengthExceeded, context: int | None
) -> ChatRequest | None:
    """The request without its oldest messages and, if need be, with a smaller bound of the answer. None if
    nothing can be left out.

    The system prompt and the last message are always kept. `error` says what the provider counted.
    `context`, in tokens, is used if the provider did not say how long its context is. If neither is known,
    half of the prompt is left out.
    """
    size = prompt_bytes(chat_request)
    bytes_per_token = size / error.prompt_tokens if error.prompt_tokens else _BYTES_PER_TOKEN
    max_tokens = chat_request.max_tokens
    limit = error.limit or context
    target = size / 2
    if limit is not None:
        # The answer gets half of the context at most, so that the conversation has the other half.
        max_tokens = min(max_tokens, max(limit // 2, _LEAST_ANSWER_TOKENS))
        fitting = (limit * (1 - _MARGIN) - max_tokens) * bytes_per_token
        if fitting < size or max_tokens < chat_request.max_tokens:
            target = fitting
    messages = _newest(chat_request, target)
    if len(messages) == len(chat_request.messages) and max_tokens == chat_request.max_tokens:
        # Only the answer's bound is left.
        max_tokens = max(max_tokens // 2, min(max_tokens, _LEAST_ANSWER_TOKENS))
        if max_tokens == chat_request.max_tokens:
            return None
    return structs.replace(chat_request, messages=messages, max_tokens=max_tokens)


def fits(chat_request: ChatRequest, context: int) -> bool:
    """Whether prompt and answer surely fit into a context of this many tokens."""
    return prompt_bytes(chat_request) / _BYTES_PER_TOKEN + chat_request.max_tokens <= context


def prompt_bytes(chat_request: ChatRequest) -> int:
    """The size of the prompt in bytes of UTF-8, with the marks of its messages."""
    return _size(chat_request.system or "") + sum(_size(each.content) for each in chat_request.messages)


def _newest(chat_request: ChatRequest, target: float) -> tuple[ChatMessage, ...]:
    """The newest messages that fit, at least the last one. An answer is not kept without its question."""
    *older, last = chat_request.messages
    size = _size(chat_request.system or "") + _size(last.content)
    kept = [last]
    for message in reversed(older):
        size += _size(message.content)
        if size > target:
            break
        kept.append(message)
    while kept[-1].role == "assistant" and len(kept) < len(chat_request.messages):
        kept.pop()
    return tuple(reversed(kept))


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace")) + _MESSAGE_BYTES
