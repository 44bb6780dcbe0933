"""The words with which model providers say why an answer ended, and what each word means here."""

from collections.abc import Mapping
from typing import TypeAlias

from shared import errors
from shared.errors import UpstreamError
from shared.events import FinishReason

# A finish reason, or the error that ended the answer.
Ending: TypeAlias = FinishReason | UpstreamError

_STOP = """
    stop end_turn stop_sequence pause_turn finish_reason_stop
    eos eos_token complete completed
    tool_calls tool_call tool_use function_call
"""
_LENGTH = """
    length max_tokens max_length max_output_tokens model_length finish_reason_max_tokens
    model_context_window_exceeded error_limit
"""
_CONTENT_FILTER = """
    content_filter content_filtered refusal guardrail_intervened sensitive error_toxic
    safety recitation blocklist prohibited_content spii finish_reason_safety finish_reason_recitation
    image_safety image_recitation image_prohibited_content
"""
# The words of OpenAI, Anthropic, Gemini, Bedrock, Mistral, Cohere, Hugging Face and Zhipu, and of the servers
# vLLM, SGLang and Ollama. Requests offer no tools, so a tool call is a normal end.
_REASONS: Mapping[str, FinishReason] = {
    **dict.fromkeys(_STOP.split(), "stop"),
    **dict.fromkeys(_LENGTH.split(), "length"),
    **dict.fromkeys(_CONTENT_FILTER.split(), "content_filter"),
}
# Every other word is an UpstreamError: `abort` of vLLM, `network_error` of Zhipu, `OTHER` of Gemini.
_ERRORS: Mapping[str, type[UpstreamError]] = {
    "insufficient_system_resource": errors.UpstreamOverloaded,  # DeepSeek
    "timeout": errors.UpstreamTimeout,
}


def read_finish_reason(word: object) -> Ending:
    """The meaning of a provider's finish reason. A word that is not known is an error, because the answer may
    have broken off.

    Words are compared without case. Gemini's OpenAI format has details after a colon, as in
    `content_filter: PROHIBITED_CONTENT`.
    """
    name = word.partition(":")[0].strip().lower().replace("-", "_") if isinstance(word, str) else ""
    kind = _ERRORS.get(name, UpstreamError)
    return _REASONS.get(name) or kind("the model provider ended the answer with an error")
