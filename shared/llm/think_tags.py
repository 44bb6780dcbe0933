"""Finds the thinking at the beginning of an answer, for servers that send it inside the text."""

from typing import Literal

# "true": a `<think>` at the beginning of an answer opens the model's thinking. "closing": every answer begins
# with thinking, with or without `<think>`, because the server's prompt template ends with that tag. "false":
# the tags are text.
ThinkTags = Literal["true", "closing", "false"]

_OPEN = "<think>"
_CLOSE = "</think>"


class AnswerStart:
    """Takes the text of an answer until the first character that is neither white space nor thinking. Reads
    may split the text anywhere.

    Only a tag that begins the answer, after white space, is a tag. White space before the thinking and after
    it is dropped. `has_text`: the text of the answer has begun. No more text may be fed then.
    """

    def __init__(self, think_tags: ThinkTags) -> None:
        self.has_text = False
        self._think_tags = think_tags
        self._is_thinking = False
        self._is_after_thinking = False
        self._spaces: list[str] = []
        # The beginning of what may become a tag.
        self._held = ""

    def feed(self, text: str, *, has_reasoning: bool) -> tuple[str, str]:
        """More thinking and more text; each may be empty. `has_reasoning`: the server has sent the thinking
        separately, so that text without a tag is text."""
        if self._is_thinking:
            return self._feed_thinking(text)
        if self._is_after_thinking:
            return self._feed_after_thinking(text)
        text = self._held + text
        body = text.lstrip()
        self._held = ""
        if len(body) < len(text):
            self._spaces.append(text[: len(text) - len(body)])
        may_be_tag = self._think_tags != "false" and _OPEN.startswith(body[: len(_OPEN)])
        if not body or (may_be_tag and len(body) < len(_OPEN)):
            self._held = body
            return "", ""
        if may_be_tag or (self._think_tags == "closing" and not has_reasoning):
            self._is_thinking = True
            return self._feed_thinking(body.removeprefix(_OPEN))
        self.has_text = True
        return "", "".join(self._spaces) + body

    def close(self) -> tuple[str, str]:
        """The rest of the thinking and of the text, at the end of the answer."""
        held, self._held = self._held, ""
        if self._is_thinking:
            return held, ""
        self.has_text = bool(held)
        return "", "".join(self._spaces) + held if held else ""

    def _feed_thinking(self, text: str) -> tuple[str, str]:
        text = self._held + text
        self._held = ""
        thinking, tag, rest = text.partition(_CLOSE)
        if tag:
            self._is_thinking = False
            self._is_after_thinking = True
            return thinking, self._feed_after_thinking(rest)[1]
        for size in range(min(len(text), len(_CLOSE) - 1), 0, -1):
            if text.endswith(_CLOSE[:size]):
                self._held = text[-size:]
                break
        return text.removesuffix(self._held), ""

    def _feed_after_thinking(self, text: str) -> tuple[str, str]:
        text = text.lstrip()
        self.has_text = bool(text)
        return "", text
