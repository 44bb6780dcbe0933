"""Chooses the messages that the model gets."""

from collections.abc import Sequence

from functions.chat_stream.records import HistoryLimits, StartedTurn
from functions.chat_stream.request import TurnRequest
from shared import costs
from shared.llm.wire_format import ChatMessage
from shared.settings import Settings

# The tokens of history for a model whose context is not known.
_DEFAULT_TOKENS = 32_000
# As in `costs.estimate_tokens`.
_BYTES_PER_TOKEN = 4


def history_limits(settings: Settings, model: str, *, system: str, max_tokens: int) -> HistoryLimits:
    """The limits of HISTORY_MESSAGES and HISTORY_TOKENS, and of the context of the model (`provider/model`)
    less the system prompt and the answer."""
    provider, _, name = model.partition("/")
    known = costs.lookup(provider, name)
    tokens = _DEFAULT_TOKENS if settings.history_tokens is None else settings.history_tokens
    if known is not None:
        room = known.context - costs.estimate_tokens(system) - min(max_tokens, known.max_output)
        tokens = room if settings.history_tokens is None else min(tokens, room)
    return HistoryLimits(
        messages=settings.history_messages,
        step=max(1, settings.history_messages // 2),
        text_bytes=max(0, tokens) * _BYTES_PER_TOKEN,
    )


def history_window(
    request: TurnRequest, started: StartedTurn, limits: HistoryLimits, system: str
) -> tuple[ChatMessage, ...]:
    """The messages for the model, the user's question last.

    For a stored turn these are messages of `started.history`, which the database has limited already. For a
    turn that could not be stored these are messages that the client sent. For a stateless turn these are all
    messages that the client sent. Where the budgets do not pay the whole prompt, its oldest messages are left
    out.
    """
    messages, message_count = started.history, started.message_count
    if not messages:
        messages, message_count = request.messages, len(request.messages)
    if request.conversation is not None:
        sizes = [len(message.content.encode("utf-8", "replace")) for message in messages]
        messages = messages[window_start(sizes, message_count, limits) :]
    if started.prompt_bytes is not None:
        messages = _affordable(messages, started.prompt_bytes - costs.max_prompt_tokens(system))
    return messages


def window_start(sizes: Sequence[int], message_count: int, limits: HistoryLimits) -> int:
    """The index of the first message that the model gets.

    `sizes`: bytes of the newest messages, oldest first; the last one is the question, which is always sent.
    `message_count`: the number of all messages.

    The start is at a multiple of `limits.step` in the conversation, so that it stays the same for several
    turns. Where `limits.messages` messages do not fit into `limits.text_bytes`, the steps are smaller, and at
    least two thirds of the messages that fit are sent.
    """
    fitting = _count_fitting(sizes, limits.text_bytes)
    most = min(fitting, limits.messages + limits.step - 1)
    if most == len(sizes):
        return 0
    least = limits.messages if fitting >= limits.messages else -(-2 * fitting // 3)
    first, last = message_count - most, message_count - least
    start, step = first, limits.step
    while step > 1:
        start = -(-first // step) * step
        if start <= last:
            break
        start, step = first, step // 2
    return start - (message_count - len(sizes))


def _count_fitting(sizes: Sequence[int], limit: int) -> int:
    """How many of the last sizes are within the limit together; at least 1."""
    total = count = 0
    for size in reversed(sizes):
        total += size
        if count and total > limit:
            break
        count += 1
    return count


def _affordable(messages: tuple[ChatMessage, ...], limit: int) -> tuple[ChatMessage, ...]:
    """The newest messages within the limit (`costs.max_prompt_tokens`), at least the question. An answer is
    not kept without its question."""
    sizes = [costs.max_prompt_tokens(message.content) for message in messages]
    start = len(messages) - _count_fitting(sizes, limit)
    while start > 0 and messages[start].role == "assistant":
        start += 1
    return messages[start:]
