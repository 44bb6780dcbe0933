"""A mock server of all model providers. It uses their wire formats and simulates their faults.

A base URL consists of the mock's URL, the provider's name, and the path of the provider's real base URL, for
instance OPENAI_BASE_URL=http://HOST:PORT/openai/v1. `python -m dev.mock_llm` prints the settings of all
providers.

A script controls the answer. It is the part of the model's name after the last colon: options, separated by
commas or ampersands. The characters ",&:" in values are percent-encoded. The header x-mock-script has
precedence over the name; its value is a script or a JSON object. A number alone is a status, a word alone is
a fault or a switch:

    mock                            20 words without pauses
    mock:tokens=200,gap=10ms        200 words, one every 10 ms
    mock:429,retry_after=2          an error
    mock:503,fail=2                 two errors, then an answer
    mock:reset,after=5              five words, then a TCP reset
    claude-sonnet-5-5:thinking=8    requests are checked as for this model

The answer
    tokens=20         words                    thinking=0     tokens of reasoning before the text
    text=...          this text                odd            words that break careless parsers: NUL,
                                                              a lone surrogate, U+2028, "[DONE]"
    obey              the question is the script if it starts with "mock:", else the answer repeats it
    letters=0         characters of the text in a token; 0: one word in a token
    finish=stop       or length, content_filter, none (left out), or a vendor's own reason
    usage=default     or end, every (in each event), none, zero (0 tokens at the end)
    input=12          tokens of the prompt, of which cached=0, cache_write=0
    tags              the reasoning is inside the text, between <think> and </think>
    parts             the text is a list of parts (in OpenAI's format)
    whole             one JSON body in place of a stream
    no-end            nothing after the finish reason and the usage: no end mark, no blank line
The pauses (50ms, 1.5s, or seconds without a unit)
    headers=0         before the status line   first=0        before the first token
    gap=0             before each further write
The bytes
    coalesce=1        events in one write      chunk=0        bytes in one HTTP chunk; 0: a whole write
    crlf              lines end with CR LF         encoding=identity   or gzip, deflate
The fault
    status=200        another status is an error in the vendor's format; 529 is 503 except for Anthropic
    retry_after=...   the value of the header
    context=0         tokens; a prompt and an answer that need more are refused, in the vendor's words
    filter=...        a prompt with this word is refused, as by the vendor's content filter
    fail=0            only the first N requests for this model and script fail (with status 500 if
                      there is neither a status nor a fault)
    after=3           tokens of text before the fault
    fault=            no-headers    accepts the request and sends nothing
                      no-body       sends the headers and nothing more
                      hang          sends nothing more
                      pings         sends only keep-alives, one every 50 ms, without end
                      error         sends an error event, then ends the stream
                      bad-json      sends an event that is not JSON, then the rest
                      truncate      ends the HTTP body, but the answer is incomplete
                      cut           closes the connection inside an HTTP chunk
                      reset         the same with a TCP reset
                      endless-line  sends a line without an end, and closes after 64 MiB
                      html          sends a page in place of the answer
                      error-body    sends an error in place of the answer

The mock checks requests as the vendors do. NVIDIA's models want roles in turn, and Gemma no system role. It
also refuses unknown fields in all formats, so that tests find them. `max_tokens` does not shorten an answer.
Without `stream` the answer is one JSON body, sent at the time of its last token. GET /_mock/stats returns the
counters and the last requests. POST /_mock/reset clears them. After POST /_mock/key with {"key": "..."} only
this key is accepted, until the next reset.
"""

from dev.mock_llm.process import MockProcess, mock_llm_process
from dev.mock_llm.scripts import Script, ScriptError, answer_text, parse, partial_text, thinking_text
from dev.mock_llm.server import MockLLM, Recorded
from dev.mock_llm.wire import VENDOR_WORDS

__all__ = [
    "VENDOR_WORDS",
    "MockLLM",
    "MockProcess",
    "Recorded",
    "Script",
    "ScriptError",
    "answer_text",
    "mock_llm_process",
    "parse",
    "partial_text",
    "thinking_text",
]
