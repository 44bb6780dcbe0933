"""The mock server: its routes, and its record of requests."""

import asyncio
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

import msgspec

from dev.mock_llm.anthropic_format import Anthropic
from dev.mock_llm.connection import Connection, Request
from dev.mock_llm.ollama_format import Ollama
from dev.mock_llm.openai_format import CompatibleServer, OpenAI
from dev.mock_llm.playback import play
from dev.mock_llm.process import Endpoints, base_path
from dev.mock_llm.scripts import Script, ScriptError, choose, obey
from dev.mock_llm.wire import VENDOR_WORDS, Refusal, VendorApi, check_prompt, json_bytes
from shared.llm.providers import PROVIDERS, Provider

# By wire format: the path of the route below the base URL, and the mock of the API.
VENDOR_APIS: dict[str, tuple[str, VendorApi]] = {
    "anthropic": ("/v1/messages", Anthropic()),
    "ollama": ("/api/chat", Ollama()),
    "openai": ("/chat/completions", CompatibleServer()),
}


def _route(provider: Provider) -> tuple[str, VendorApi]:
    path, api = VENDOR_APIS[provider.wire_format]
    if provider.max_tokens_field == "max_completion_tokens":
        api = OpenAI()
    return base_path(provider) + path, api


ROUTES: dict[str, VendorApi] = dict(_route(provider) for provider in PROVIDERS.values())
REQUESTS_KEPT = 200
SECRET_HEADERS = {"authorization", "x-api-key"}


@dataclass
class Recorded:
    """A request and its outcome. `refusal` says why a request was refused."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    model: str = ""
    outcome: Literal["open", "answered", "refused", "aborted"] = "open"
    refusal: str = ""

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class MockLLM(Endpoints):
    """`async with MockLLM() as mock:` serves in the running loop, on a free port by default.

    `hits` and `hits_by_model` count valid and invalid requests, except those to /_mock. `aborted` counts
    requests whose client disconnected before the end, `refused` invalid requests, `open` unfinished
    requests, and `connections` TCP connections. `requests` are the last 200 requests, oldest first. `key` is
    the only accepted API key, or None if any key is accepted.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__("")
        self._address = host, port
        self._connections: set[Connection] = set()
        self._closing = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._busy = asyncio.Event()
        self.open = 0
        self.reset()

    async def __aenter__(self) -> "MockLLM":
        loop = asyncio.get_running_loop()
        host, port = self._address
        self._server = await loop.create_server(
            lambda: Connection(self._serve, self._connected), host, port, backlog=1024
        )
        self.url = f"http://{host}:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._closing = True
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        await asyncio.gather(*(connection.lost for connection in self._connections))
        await self.idle()
        await self._server.wait_closed()

    def reset(self) -> None:
        """Sets all counters except `open` to 0, and removes the recorded requests and the accepted key."""
        self.hits = 0
        self.hits_by_model: Counter[str] = Counter()
        self.aborted = 0
        self.refused = 0
        self.connections = 0
        self.requests: deque[Recorded] = deque(maxlen=REQUESTS_KEPT)
        self._tries: Counter[tuple[str, str, str | None]] = Counter()
        self.key: str | None = None

    def stats(self) -> dict[str, Any]:
        """The response of /_mock/stats: the counters, and the requests without their API keys."""
        names = ("hits", "hits_by_model", "aborted", "refused", "open", "connections")
        return {name: getattr(self, name) for name in names} | {
            "requests": [_without_secrets(recorded) for recorded in self.requests]
        }

    async def idle(self) -> None:
        """Waits until no request is open. Disconnected clients have been noticed then."""
        await self._idle.wait()

    async def busy(self) -> None:
        """Waits until a request is open."""
        await self._busy.wait()

    def _connected(self, connection: Connection) -> None:
        self.connections += 1
        self._connections.add(connection)
        connection.lost.add_done_callback(lambda _: self._connections.discard(connection))

    async def _serve(self, request: Request, connection: Connection) -> None:
        if request.path.startswith("/_mock/"):
            self._control(request, connection)
            return
        recorded = Recorded(request.method, request.path, request.headers, request.body)
        self.hits += 1
        self.requests.append(recorded)
        self.open += 1
        self._idle.clear()
        self._busy.set()
        try:
            await self._answer(recorded, connection)
        except asyncio.CancelledError:
            recorded.outcome = "aborted"
            self.aborted += not self._closing
            raise
        finally:
            self.open -= 1
            if not self.open:
                self._idle.set()
                self._busy.clear()

    async def _answer(self, recorded: Recorded, connection: Connection) -> None:
        api = ROUTES.get(recorded.path)
        if api is None or recorded.method != "POST":
            self._refuse(OpenAI(), Refusal(404, "no such route"), recorded, connection)
            return
        try:
            body = _json_object(recorded)
            recorded.model = str(body.get("model"))
            self.hits_by_model[recorded.model] += 1
            api.check(recorded.headers, body)
            _check_key(recorded.headers, self.key)
            script = self._script(recorded, body["messages"])
            check_prompt(api, body, script)
        except Refusal as refusal:
            self._refuse(api, refusal, recorded, connection)
            return
        if script.status == 200:
            await play(api, api.chat_request(body, script), connection)
            await connection.flush()
        else:
            await asyncio.sleep(script.headers)
            headers = {"retry-after": script.retry_after} if script.retry_after else {}
            connection.write(_response(*_scripted_error(api, script.status, recorded.model), headers))
        recorded.outcome = "answered"

    def _script(self, recorded: Recorded, messages: list[dict[str, Any]]) -> Script:
        script_text = recorded.headers.get("x-mock-script")
        try:
            script = choose(recorded.model, script_text)
            if script.obey:
                script_text = _text(messages[-1]["content"])
                script = obey(script, script_text)
        except ScriptError as error:
            raise Refusal(400, str(error), "model") from error
        if not script.fail:
            return script
        key = recorded.path, recorded.model, script_text
        self._tries[key] += 1
        return script if self._tries[key] <= script.fail else script.healthy()

    def _refuse(self, api: VendorApi, refusal: Refusal, recorded: Recorded, connection: Connection) -> None:
        recorded.outcome = "refused"
        recorded.refusal = refusal.message
        self.refused += 1
        connection.write(_response(*_error(api, refusal)))

    def _control(self, request: Request, connection: Connection) -> None:
        if (request.method, request.path) == ("GET", "/_mock/stats"):
            connection.write(_response(200, json_bytes(self.stats())))
        elif (request.method, request.path) == ("POST", "/_mock/reset"):
            self.reset()
            connection.write(_response(200, b"{}"))
        elif (request.method, request.path) == ("POST", "/_mock/key"):
            self.key = msgspec.json.decode(request.body)["key"]
            connection.write(_response(200, b"{}"))
        else:
            connection.write(_response(404, b"{}"))


def _scripted_error(api: VendorApi, status: int, model: str) -> tuple[int, bytes]:
    if status == 404:
        return _error(api, api.unknown_model(model))
    return api.error(status, VENDOR_WORDS)


def _error(api: VendorApi, refusal: Refusal) -> tuple[int, bytes]:
    return api.error(refusal.status, refusal.message, refusal.param, refusal.code)


def _check_key(headers: Mapping[str, str], accepted: str | None) -> None:
    key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
    if accepted not in (None, key):
        raise Refusal(401, "the API key is not valid")


def _json_object(recorded: Recorded) -> dict[str, Any]:
    if not recorded.headers.get("content-type", "").startswith("application/json"):
        raise Refusal(400, "content-type must be application/json")
    try:
        body = recorded.json
    except msgspec.MsgspecError as error:
        raise Refusal(400, "the request body is not valid JSON") from error
    if not isinstance(body, dict):
        raise Refusal(400, "the request body is not a JSON object")
    return body


def _text(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _response(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "request-id: req_mock",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _without_secrets(recorded: Recorded) -> dict[str, Any]:
    return {
        "method": recorded.method,
        "path": recorded.path,
        "model": recorded.model,
        "outcome": recorded.outcome,
        "refusal": recorded.refusal,
        "headers": {k: "***" if k in SECRET_HEADERS else v for k, v in recorded.headers.items()},
        "body": recorded.body.decode(errors="replace"),
    }
