"""Recognises why a provider refuses a request, from the status of the response and its words.

Most vendors answer every permanent refusal with 400, and give no code that programs could
read. So the table below knows their sentences. Only fixed texts and numbers leave this module, never the
vendor's text: it may quote the prompt.

`shared.llm.wire_format` imports this module when a provider sends the first error, because a cold start has
no time for its patterns.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

from shared import errors
from shared.errors import UpstreamError
from shared.llm.wire_format import error_for_status


def error_for_response(status: int, body: bytes) -> UpstreamError:
    """The error of a response with another status than 200. `body` may be cut."""
    texts = [*_texts(body)]
    refusal = refusal_in(*texts, status=status)
    if refusal is None and status == 413:
        refusal = _context_length_exceeded("")
    return refusal or error_for_status(status, field=_field(texts))


def refusal_in(*texts: object, status: int = 400) -> UpstreamError | None:
    """The refusal that these codes and sentences of a provider mean, or None if they mean none."""
    words = " ".join(text for text in texts if isinstance(text, str))[:_LONGEST_WORDS]
    table: tuple[_Refusal, ...]
    if status == 429 or _RATE_LIMIT.search(words):
        table = _RATE_LIMIT_REFUSALS
    elif status >= 500:
        table = _SERVER_ERROR_REFUSALS
    else:
        table = () if status == 401 else _REFUSALS
    return next((make(words) for pattern, make in table if pattern.search(words)), None)


def _context_length_exceeded(words: str) -> UpstreamError:
    limit, prompt_tokens = _number(_LIMITS, words), _number(_PROMPT_TOKENS, words)
    sentence = (
        "Your input exceeds the context window of this model."
        if limit is None
        else f"This model's maximum context length is {limit} tokens."
    )
    return errors.ContextLengthExceeded(
        f"{sentence} Please reduce the length of the messages.", limit=limit, prompt_tokens=prompt_tokens
    )


def _number(patterns: tuple[re.Pattern[str], ...], words: str) -> int | None:
    for pattern in patterns:
        if match := pattern.search(words):
            return int(match[1].replace(",", ""))
    return None


def _texts(body: bytes) -> Iterator[str]:
    """The codes and sentences of an error response. The fields that quote the request are not read."""
    try:
        yield from _texts_of(msgspec.json.decode(body), depth=0)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        if not body.lstrip().startswith(b"<"):
            yield body[:_LONGEST_WORDS].decode("utf-8", "replace")


def _texts_of(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        # Gateways send the vendor's JSON as text.
        if value.startswith("{") and depth < _DEEPEST:
            yield from _texts(value.encode("utf-8", "replace"))
        else:
            yield value
    elif isinstance(value, list) and depth < _DEEPEST:
        for item in value[:_MOST_ITEMS]:
            yield from _texts_of(item, depth + 1)
    elif isinstance(value, dict) and depth < _DEEPEST:
        for name in _TEXT_FIELDS:
            if name in value:
                yield from _texts_of(value[name], depth + 1)
        yield from (f"{name}: {value[name]}" for name in _NUMBER_FIELDS if isinstance(value.get(name), int))


def _field(texts: list[str]) -> str | None:
    """The parameter that the vendor names, if it is one that requests have. Some vendors have a field for its
    name, others begin their sentence with the name or quote it."""
    for text in texts:
        for match in _NAMED.finditer(text[:_LONGEST_WORDS]):
            name = next(group for group in match.groups() if group)
            if name in _PARAMETERS:
                return _PARAMETERS[name]
    return None


_LONGEST_WORDS = 4_000
_DEEPEST = 6
_MOST_ITEMS = 10
_TEXT_FIELDS = (
    "param",
    "code",
    "type",
    "status",
    "error_type",
    "error",
    "message",
    "msg",
    "loc",
    "detail",
    "details",
    "reason",
    "innererror",
    "metadata",
    "raw",
)
# llama.cpp
_NUMBER_FIELDS = ("n_ctx", "n_prompt_tokens")
# The parameters of requests, and the names under which clients send them.
_PARAMETERS: Mapping[str, str] = {
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "num_predict": "max_tokens",
    "temperature": "temperature",
    "messages": "messages",
    "system": "messages",
    "model": "model",
    "stream_options": "stream_options",
}
_NAMED = re.compile(r"^(\w+)(?=$|: |\.\d)|['`\"](\w+)['`\"]")


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_RATE_LIMIT = _words(r"rate.?limit", r"too many requests", r"throttling")

_Refusal: TypeAlias = tuple[re.Pattern[str], Callable[[str], UpstreamError]]

# The names are of vendors whose sentences a pattern knows: from their documentation, the source of open
# servers, and reports of users.
_NO_SYSTEM_ROLE: _Refusal = (
    _words(
        r"system role (is )?not supported",  # templates of Gemma and others at vLLM, SGLang, llama.cpp
        r"(developer|system) instruction is not (enabled|supported)",  # Gemini's API, for Gemma
        r"roles must alternate",  # templates of Mistral: a system message is none of the two roles
        r"only user and assistant roles",
    ),
    lambda _: errors.SystemRoleRefused("the model provider refused the request: messages", field="messages"),
)
_UNPAID: _Refusal = (
    _words(
        r"insufficient_quota",  # OpenAI, with 429
        r"credit balance is too low",  # Anthropic, with 400
        r"specified (workspace )?api usage limits",  # Anthropic, with 400
        r"insufficient (balance|credits)",  # DeepSeek, OpenRouter
    ),
    lambda _: errors.UpstreamUnpaid("the model provider's account has no quota left"),
)
_WRONG_KEY: _Refusal = (
    _words(
        r"api.?key not valid",  # Gemini, with 400
        r"api_key_invalid",
        r"(incorrect|invalid).api.?key",  # xAI, with 400; OpenAI's code
        r"user location is not supported",  # Gemini
    ),
    lambda _: errors.UpstreamAuth("the model provider refused the key"),
)
_FILTERED: _Refusal = (
    _words(
        r"content_?filter",  # Azure, OpenAI
        r"content.?policy",  # OpenAI's content_policy_violation
        r"responsibleaipolicyviolation",  # Azure
        r"content management policy",  # Azure
        r"content filtering policy",  # Anthropic
        r"\binvalid_prompt\b",  # OpenAI: "flagged as potentially violating our usage policy"
        r"\b(was|were|been) flagged\b",  # OpenRouter (403), OpenAI
        r"violates? (our )?usage (guidelines|policy|policies)",  # xAI (403)
        r"content exists risk",  # DeepSeek
        r"data_?inspection_?failed",  # Alibaba
        r"inappropriate content",  # Alibaba
        r"(unsafe|sensitive) (or (unsafe|sensitive) )?content",  # Zhipu
        r"prohibited_content",  # Gemini
        r"our safety system",  # OpenAI
    ),
    lambda _: errors.ContentFiltered("the content filter of the model provider refused the messages"),
)
_TOO_LONG: _Refusal = (
    _words(
        r"context_length_exceeded",  # OpenAI, Groq, Together
        r"exceed_context_size",  # llama.cpp
        r"request_too_large",  # Anthropic, with 413
        r"context (length|window|size|limit)",  # OpenAI, vLLM, OpenRouter, Mistral, Ollama, and others
        r"prompt (is )?too long",  # Anthropic, Ollama
        r"input (is |tokens? )?too long",  # Bedrock
        r"input token count",  # Gemini
        r"maximum (allowed )?(prompt|input) length",  # xAI, OpenRouter
        r"reduce the length of the (messages|input|prompt)",  # Groq, vLLM
        r"too many (input )?tokens",  # Cohere and others
        r"model token limit",  # Moonshot
        r"must have less than \d+ tokens",  # Hugging Face
        r"`inputs` tokens \+",  # Hugging Face
        r"only supports up to \d+",  # Gemini
        r"extra usage is required for long context",  # Anthropic
    ),
    _context_length_exceeded,
)
# The request alone has more tokens than the account may send in a minute: waiting does not help.
_ABOVE_RATE_LIMIT: _Refusal = (
    _words(r"request too large for", r"reduce your message size"),  # OpenAI with 429, Groq with 413
    _context_length_exceeded,
)
_NO_MODEL: _Refusal = (
    _words(
        r"model_not_found",  # OpenAI, Groq, Cerebras
        r"model_decommissioned",  # Groq
        r"model_not_(available|supported)",  # Together
        r"invalid_model",  # Mistral
        r"deploymentnotfound",  # Azure
        r"not_found_error",  # Anthropic
        r"notfounderror",  # vLLM
        r"\bmodels?\b.{0,250}(not exist|not found|not available|been (deprecated|retired|decommissioned))",
        r"not a valid model",  # OpenRouter
        r"(invalid|unknown|unsupported) model\b",
        r"no endpoints found",  # OpenRouter
        r"end of life",  # NVIDIA, with 410
    ),
    lambda _: errors.ModelNotFound("the model provider does not have this model"),
)
# In this order, because a sentence may have the words of several rows.
_REFUSALS = (_NO_SYSTEM_ROLE, _UNPAID, _WRONG_KEY, _FILTERED, _TOO_LONG, _ABOVE_RATE_LIMIT, _NO_MODEL)
# The same words about tokens can mean a rate limit.
_RATE_LIMIT_REFUSALS = (_UNPAID, _ABOVE_RATE_LIMIT)
# Open servers answer errors of a chat template with 500. A model that is "not available" with 503 may come
# back.
_SERVER_ERROR_REFUSALS = (_NO_SYSTEM_ROLE, _TOO_LONG)
_COUNT = r"(\d[\d,]{0,15})"
# Where the sentences state the length of the context, and where that of the prompt.
_LIMITS = (
    _words(rf"> {_COUNT}(?: maximum|,|$)"),
    _words(rf"context (?:length|size|limit|window)(?: is| of|:)? ?\(?{_COUNT}"),
    _words(rf"model with {_COUNT} maximum context length"),
    _words(rf"tokens allowed \(?{_COUNT}"),
    _words(rf"(?:prompt|input) length (?:is|of) {_COUNT}"),
    _words(rf"(?:model token limit:|less than|must be <=|supports up to|n_ctx:) ?{_COUNT}"),
    _words(rf"\blimit:? {_COUNT}, requested"),
)
_PROMPT_TOKENS = (
    _words(rf"\({_COUNT} (?:of text input|in (?:the messages|your prompt))"),
    _words(rf"(?:messages resulted in|prompt contains(?: at least)?|request (?:has|contains)) {_COUNT}"),
    _words(rf"(?:input token count|input length|input|request|too long:|n_prompt_tokens:) \(?{_COUNT}"),
    _words(rf"token count is {_COUNT}"),
    _words(rf"context limit: {_COUNT} \+"),
    _words(rf"given: {_COUNT} `inputs`"),
)
