"""A mock of all model providers. It speaks their wire formats, and fails as a script says.

The base URL of a provider is the mock's URL, the provider's name, and the path of its own base URL, for
instance OPENAI_BASE_URL=http://HOST:PORT/openai/v1. `python -m dev.mock_llm` prints the settings of all
providers.

A script is what follows the last colon of the model's name: knobs between commas or ampersands, with
values percent-encoded where they hold one of ",&:". The header x-mock-script, in the same form or as
a JSON object, wins over the name. A bare number is a status, a bare word a fault or a switch:

    mock                            twenty words at once
    mock:tokens=200,gap=10ms        two hundred, one in 10 ms
    mock:429,retry_after=2          refused
    mock:503,fail=2                 refused twice, then answered
    mock:reset,after=5              five words, then a TCP reset
    claude-sonnet-5-5:thinking=8    checked as that model's requests are, then scripted

The answer
    tokens=20         words to say             thinking=0     tokens of reasoning before them
    text=...          say this instead         odd            words that break careless parsers: NUL,
                                                              a lone surrogate, U+2028, "[DONE]"
    obey              what the user says is the script, after "mock:"; else it is said back
    letters=0         of the text in a token; 0: a word in each
    finish=stop       or length, content_filter, none (left out), or a vendor's own word
    usage=default     or end, every (on every event), none    input=12, of which cached=0, cache_write=0
Its pace (50ms, 1.5s, or plain seconds)
    headers=0         before the status line   first=0        then before the first token
    gap=0             then before each write
Its bytes
    coalesce=1        events in one write      chunk=0        bytes in one HTTP chunk; 0: as written
    crlf              ends lines with CR LF
Its fault
    status=200        any other is an error in the vendor's words; 529 is 503 but for Anthropic
    retry_after=...   the header, as it stands
    fail=0            only the first so many requests for this model and script fail (status 500, if
                      neither a status nor a fault is given)
    after=3           tokens of text before the fault
    fault=            no-headers    accepts the request and says nothing, ever
                      no-body       headers, and nothing, ever
                      hang          nothing more, ever
                      pings         keep-alives without content for ever, one in 50 ms
                      error         an error in the stream's own format, then its end
                      bad-json      an event that is not JSON, then the rest
                      truncate      the body ends properly, the answer does not
                      cut           the connection closes inside an HTTP chunk
                      reset         the same with a TCP reset
                      endless-line  a line without end (it gives up after 64 MiB)

Requests are checked as the vendors check them, and unknown fields are refused by all four: a wrong
request of ours fails loudly. `max_tokens` does not shorten an answer. Without `stream` the answer is
one JSON body, sent when its last token would have been. GET /_mock/stats tells what came in,
POST /_mock/reset forgets it. POST /_mock/key with {"key": "..."} makes it the only key that is
accepted from there to the next reset; before, any is.
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
