"""The mock's base URLs, and the mock as a separate process, for tests without an event loop."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from shared.llm.providers import PROVIDERS, Provider

ROOT = Path(__file__).parents[2]


class Endpoints:
    """The mock's base URL for each provider of the registry. `url` has no slash at its end."""

    def __init__(self, url: str) -> None:
        self.url = url

    def base_url(self, provider_name: str) -> str:
        return self.url + base_path(PROVIDERS[provider_name])

    def settings(self) -> dict[str, str]:
        """The settings that send the requests for all providers to the mock."""
        settings = {}
        for provider in PROVIDERS.values():
            if provider.settings_prefix is not None:
                settings[f"{provider.settings_prefix}_BASE_URL"] = self.base_url(provider.name)
                if provider.needs_key:
                    settings[f"{provider.settings_prefix}_API_KEY"] = "key"
        return settings


def base_path(provider: Provider) -> str:
    """The path of a provider's base URL at the mock: its name and the path of its real base URL."""
    return f"/{provider.name}{urlsplit(provider.base_url).path}"


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
    """Runs the mock on a free port in a separate process until the block ends."""
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
