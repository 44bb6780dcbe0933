"""A mock of all model providers. It speaks their wire formats, and fails as a script says.

The base URL of a provider is the mock's URL, the provider's name, and the path of its own base URL, for
instance OPENAI_BASE_URL=http://HOST:PORT/openai/v1. `python -m dev.mock_llm` prints the settings of all
providers.

The script is the part of the model's name after the last colon: knobs with commas or ampersands between
them. The characters ",&:" in values are percent-encoded. The header x-mock-script has precedence over the
name; it has the same form or is a JSON object. A number alone is a status, a word alone a fault or switch:

    mock                            twenty words at once
    mock:tokens=200,gap=10ms        two hundred words, one each 10 ms
    mock:429,retry_after=2          a refusal
    mock:503,fail=2                 two refusals, then an answer
    mock:reset,after=5              five words, then a TCP reset
    claude-sonnet-5-5:thinking=8    the checks of that model's requests, then the script

The answer
    tokens=20         words                    thinking=0     tokens of reasoning before them
    text=...          this text instead        odd            words that break careless parsers: NUL,
                                                              a lone surrogate, U+2028, "[DONE]"
    obey              the script is the question after "mock:"; another question is repeated
    letters=0         letters of the text in a token; 0: a word in each
    finish=stop       or length, content_filter, none (left out), or a vendor's own name
    usage=default     or end, every (in each event), none     input=12, of which cached=0, cache_write=0
Its pace (50ms, 1.5s, or seconds without a unit)
    headers=0         before the status line   first=0        then before the first token
    gap=0             then before each write
Its bytes
    coalesce=1        events in one write      chunk=0        bytes in one HTTP chunk; 0: a whole write
    crlf              lines end with CR LF
Its fault
    status=200        another status is an error in the vendor's form; 529 is 503 except for Anthropic
    retry_after=...   the value of the header
    fail=0            only the first N requests for this model and script fail (with status 500, if
                      there is neither a status nor a fault)
    after=3           tokens of text before the fault
    fault=            no-headers    accepts the request and sends nothing
                      no-body       sends the headers and nothing more
                      hang          sends nothing more
                      pings         sends keep-alives without content for ever, one each 50 ms
                      error         an error in the stream's format, then the end of the stream
                      bad-json      an event that is not JSON, then the rest
                      truncate      the body ends properly, the answer does not
                      cut           the connection closes inside an HTTP chunk
                      reset         the same with a TCP reset
                      endless-line  a line without an end (the connection closes after 64 MiB)

Requests are checked as the vendors check them. Unknown fields are refused in all formats, so that a wrong
request is found. `max_tokens` does not shorten an answer. Without `stream` the answer is one JSON body, sent
at the time of its last token. GET /_mock/stats returns the counters and the last requests. POST /_mock/reset
clears them. POST /_mock/key with {"key": "..."} makes this the only accepted key until the next reset.
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
