"""Ends an answer that is longer than the budgets pay."""

from collections.abc import Sequence

from shared.events import Event, ReasoningDelta, TextDelta

# English has four to five bytes in a token. Code can have more.
_MOST_BYTES_PER_TOKEN = 8


class AnswerBound:
    """Counts the tokens of an answer as it arrives.

    The model was asked for `max_tokens` at most. A server that ignores this is found by its events: an event
    has at least one token of text, and a token has few bytes.
    """

    def __init__(self, max_tokens: int) -> None:
        self.is_exceeded = False
        self._events_left = max_tokens
        self._bytes_left = max_tokens * _MOST_BYTES_PER_TOKEN

    def limit(self, events: Sequence[Event]) -> list[Event]:
        """The events up to the bound. Sets `is_exceeded` if there are more."""
        allowed: list[Event] = []
        for event in events:
            if isinstance(event, TextDelta | ReasoningDelta):
                text = event.text.encode("utf-8", "surrogatepass")
                if self._events_left == 0 or len(text) > self._bytes_left:
                    self.is_exceeded = True
                    start = text[: self._bytes_left].decode("utf-8", "ignore") if self._events_left else ""
                    return [*allowed, type(event)(start)] if start else allowed
                self._events_left -= 1
                self._bytes_left -= len(text)
            allowed.append(event)
        return allowed
