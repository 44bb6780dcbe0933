"""The mock's addresses, and the mock as a process of its own for tests without an event loop."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

ROOT = Path(__file__).parents[2]


class Endpoints:
    """The base URL that each provider's setting takes; `url` has no slash at its end."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def anthropic_url(self) -> str:
        return self.url

    @property
    def openai_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def nvidia_url(self) -> str:
        return f"{self.url}/nvidia/v1"

    @property
    def ollama_url(self) -> str:
        return f"{self.url}/ollama"


class MockProcess(Endpoints):
    def stats(self) -> dict[str, Any]:
        """See `MockLLM.stats`."""
        with urlopen(f"{self.url}/_mock/stats", timeout=10) as response:
            stats: dict[str, Any] = json.load(response)
        return stats

    def reset(self) -> None:
        self._post("reset")

    def accept_only(self, key: str) -> None:
        """Refuses requests with another key, until the next reset."""
        self._post("key", json.dumps({"key": key}).encode())

    def _post(self, control: str, body: bytes = b"") -> None:
        with urlopen(Request(f"{self.url}/_mock/{control}", body, method="POST"), timeout=10):
            pass


@contextmanager
def mock_llm_process() -> Iterator[MockProcess]:
    """The mock on a free port, in another process, which ends with the block."""
    command = [sys.executable, "-m", "dev.mock_llm", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            ready = process.stdout.readline()
            if not ready.startswith("ready "):
                raise RuntimeError("the mock did not start")
            yield MockProcess(ready.split()[1])
        finally:
            process.terminate()
