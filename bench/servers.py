"""The measured servers, and the requests for them."""

import json
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

from msgspec import Struct

from bench import http_client
from bench import provider as bench_provider
from bench.load import LoadTarget
from bench.processes import Server, children, run_server
from dev import postgres
from dev.local import ROOT
from dev.postgres import LocalPostgres
from migrations import migrate
from shared import auth

LITELLM = ROOT / ".venv-litellm/bin/litellm"
# A model with a known price. Otherwise every turn would log a warning.
_MODEL = "gpt-6.1-terra"
_SECRET = secrets.token_urlsafe(48)
_LITELLM_CONFIG = """
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{model}, api_base: {url}, api_key: key}}
"""


@contextmanager
def provider() -> Iterator[Server]:
    with run_server(["-m", "bench.provider"], {}) as server:
        yield server


@contextmanager
def database() -> Iterator[LocalPostgres]:
    """Runs a new Postgres server with the current schema until the block ends."""
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        server = postgres.start(Path(folder) / "data")
        try:
            migrate.apply(server.url(postgres.OWNER))
            yield server
        finally:
            server.stop()


def environment(database_url: str, provider: Server) -> dict[str, str]:
    """The settings of the functions, with a rate limit that allows the load."""
    return {
        "DATABASE_URL": database_url,
        "MIGRATION_DATABASE_URL": "",
        "JWT_SECRET": _SECRET,
        "LLM_MODEL": f"openai/{_MODEL}",
        "OPENAI_API_KEY": "key",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{provider.port}/v1",
        "RATE_LIMIT_CHAT": "999999/60",
    }


@contextmanager
def uvicorn(environ: Mapping[str, str]) -> Iterator[Server]:
    """The server of `make run`."""
    with run_server(["-m", "dev.server"], environ) as server:
        yield server


@contextmanager
def emulator(environ: Mapping[str, str]) -> Iterator[Server]:
    """The emulator of `make lambda`. The process of the function starts with its first request."""
    with run_server(["-m", "bench.lambda_server"], environ) as server:
        yield server


def function_pid(emulator: Server) -> int | None:
    """The process id of the chat function under the emulator, or None."""
    pids = [pid for pid, command in children(emulator.pid) if "functions.chat_stream" in command]
    return pids[0] if pids else None


@contextmanager
def relay(environ: Mapping[str, str]) -> Iterator[Server]:
    with run_server(["-m", "bench.relay"], environ) as server:
        yield server


@contextmanager
def litellm(environ: Mapping[str, str]) -> Iterator[Server]:
    """LiteLLM's proxy with its defaults: one worker, no database, no key check. Uses its own price list."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        config = Path(folder, "config.yaml")
        config.write_text(_LITELLM_CONFIG.format(model=_MODEL, url=environ["OPENAI_BASE_URL"]), "utf-8")
        port = free.getsockname()[1]
        free.close()
        command = [str(LITELLM), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        env = {
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_TELEMETRY": "False",
        }
        with run_server(command, env, interpreter=LITELLM.with_name("python"), port=port) as server:
            yield server


class Users(Struct, frozen=True):
    """Users of one of this project's servers. Each user has a token and a conversation."""

    port: int
    tokens: list[str]
    conversations: list[str]

    @classmethod
    def create(cls, server: Server, count: int) -> "Users":
        """Creates `count` users. The first turn of each user creates the conversation."""
        users = cls(server.port, [_token(uuid4()) for _ in range(count)], [])
        body = {"message": bench_provider.question("words-20-0")}
        for token in users.tokens:
            with http_client.connect(server.port) as connection:
                _, response = http_client.send_turn(connection, _request("/chat-stream", body, token))
            head = response.partition(b"\r\n\r\n")[0].lower()
            conversation = head.partition(b"x-conversation-id:")[2].partition(b"\r\n")[0].strip()
            users.conversations.append(conversation.decode())
        return users

    def stored(self, script: str, streams: int) -> LoadTarget:
        """Requests for turns in the conversations of the first `streams` users."""
        message = bench_provider.question(script)
        requests = [
            _request("/chat-stream", {"message": message, "conversationId": conversation}, token)
            for token, conversation in zip(self.tokens, self.conversations, strict=True)
        ]
        return LoadTarget(self.port, requests[:streams])

    def stateless(self, script: str, streams: int) -> LoadTarget:
        """Requests for turns without a conversation, by the first `streams` users."""
        return LoadTarget(self.port, [_completion(script, token) for token in self.tokens[:streams]])


def completions(server: Server, script: str, streams: int) -> LoadTarget:
    """Requests in the provider's format, which the relay and LiteLLM accept too."""
    return LoadTarget(server.port, [_completion(script, "key")] * streams)


def _completion(script: str, token: str) -> bytes:
    body = {
        "model": _MODEL,
        "messages": [{"role": "user", "content": bench_provider.question(script)}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return _request("/v1/chat/completions", body, token)


def _token(user_id: UUID) -> str:
    return auth.sign(user_id, secret=_SECRET, now=time.time(), lifetime=24 * 3600)


def _request(path: str, body: object, token: str) -> bytes:
    data = json.dumps(body, separators=(",", ":")).encode()
    return (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {token}\r\ncontent-length: {len(data)}\r\n\r\n"
    ).encode() + data
