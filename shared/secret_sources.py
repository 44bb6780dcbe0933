"""The sources of secrets: a setting, a store such as Secrets Manager, a field of another secret, or a
generated token.

A secret may rotate, so code must read it each time and keep no copy. Reading a cached value is cheap.
`shared.aws` reads Secrets Manager.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import msgspec

from shared.errors import Unavailable
from shared.logs import logger

Stage = Literal["AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"]

# After this age a secret is read again in the background. Until then callers get the old value.
_MAX_AGE_SECONDS = 300.0
# The shortest time between two forced reads, so that invalid tokens of clients cannot cause many reads.
_REFRESH_INTERVAL_SECONDS = 5.0
# The longest time that a caller waits for the store. The read continues for later callers.
_MAX_WAIT_SECONDS = 2.0
# A database token is valid for 15 minutes and is used for 10, so that it cannot expire while a connection is
# opened.
_TOKEN_SECONDS = 600.0


class Secret(ABC):
    """A secret and its versions. All methods raise Unavailable if the secret could never be read."""

    _refused: str | None = None

    @abstractmethod
    async def current_versions(self) -> tuple[str, ...]:
        """The versions that are known to be valid, the current one first; never empty."""

    @abstractmethod
    async def refresh(self) -> tuple[str, ...]:
        """All versions that may be valid, read again if the source allows it. A store is read at most once in
        5 s. Called when no known version verifies a token, or when a server refuses the known version."""

    async def value(self) -> str:
        """The version to use for a login or a request, for example to a provider."""
        return self._choose(await self.current_versions())

    async def replacement_for(self, refused: str) -> str | None:
        """Another version to try after `refused` was refused; None if there is none."""
        known = await self.value()
        if known != refused:  # Another task has already replaced it.
            return known
        self._refused = refused
        replacement = self._choose(await self.refresh())
        return None if replacement == refused else replacement

    def _choose(self, versions: tuple[str, ...]) -> str:
        # During a rotation the server may accept another version than the current one.
        return next((version for version in versions if version != self._refused), versions[0])


class StaticSecret(Secret):
    """A secret from the environment. It has one version, which does not change."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def current_versions(self) -> tuple[str, ...]:
        return (self.text,)

    async def refresh(self) -> tuple[str, ...]:
        return (self.text,)

    async def value(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StaticSecret) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


class SecretsManagerSecret(Secret):
    """A secret that `read` fetches. `read` blocks and returns None for a stage that no version has.

    If the secret cannot be read again, the last value stays in use, however old it is. `now` is wall-clock
    time, because a monotonic clock may stand still while Lambda keeps the process frozen.
    """

    def __init__(
        self, name: str, read: Callable[[Stage], str | None], *, now: Callable[[], float] = time.time
    ) -> None:
        self._name = name
        self._read = read
        self._now = now
        self._versions: tuple[str, ...] = ()
        self._stages: tuple[Stage, ...] = ("AWSCURRENT",)
        self._read_at = self._tried_at = self._refreshed_at = float("-inf")
        self._read_task: asyncio.Task[None] | None = None

    async def current_versions(self) -> tuple[str, ...]:
        if not self._versions:
            await self._wait_for(self._start_read())
        elif not self._is_within(self._read_at, _MAX_AGE_SECONDS) and not self._is_within(
            self._tried_at, _REFRESH_INTERVAL_SECONDS
        ):
            self._start_read()
        return self._known_versions()

    async def refresh(self) -> tuple[str, ...]:
        if self._read_task is not None and not self._read_task.done():
            await self._wait_for(self._read_task)
        if not self._is_within(self._refreshed_at, _REFRESH_INTERVAL_SECONDS):
            self._refreshed_at = self._now()
            # From now on all three stages are read, because a version other than the current one is in use.
            self._stages = ("AWSCURRENT", "AWSPENDING", "AWSPREVIOUS")
            await self._wait_for(self._start_read())
        return self._known_versions()

    def _known_versions(self) -> tuple[str, ...]:
        if not self._versions:
            raise Unavailable("a secret of the service cannot be read")
        return self._versions

    def _start_read(self) -> asyncio.Task[None]:
        """All callers share one read."""
        if self._read_task is None or self._read_task.done():
            self._tried_at = self._now()
            self._read_task = asyncio.create_task(self._read_versions())
        return self._read_task

    async def _wait_for(self, read: asyncio.Task[None]) -> None:
        # `wait` and not `await`: a cancelled caller must not cancel the read of the others.
        await asyncio.wait({read}, timeout=_MAX_WAIT_SECONDS)

    async def _read_versions(self) -> None:
        found = await asyncio.gather(
            *(asyncio.to_thread(self._read, stage) for stage in self._stages), return_exceptions=True
        )
        if isinstance(found[0], BaseException):
            # Any error: an old value is better than none.
            logger.warning("a secret could not be read", secret=self._name, exc_info=found[0])
        elif found[0] is not None:
            self._versions = tuple(dict.fromkeys(text for text in found if isinstance(text, str)))
            self._read_at = self._now()

    def _is_within(self, since: float, seconds: float) -> bool:
        # If the wall clock is set back, `since` is in the future. Then the secret counts as old.
        return 0 <= self._now() - since < seconds


class JsonFieldSecret(Secret):
    """A field of a secret that is a JSON object. Versions without the field are ignored."""

    def __init__(self, json_secret: Secret, field: str) -> None:
        self._json_secret = json_secret
        self._field = field

    async def current_versions(self) -> tuple[str, ...]:
        return self._fields(await self._json_secret.current_versions())

    async def refresh(self) -> tuple[str, ...]:
        return self._fields(await self._json_secret.refresh())

    def _fields(self, json_versions: tuple[str, ...]) -> tuple[str, ...]:
        found = [text for json_secret in json_versions if (text := self._read_field(json_secret))]
        if not found:
            logger.error("a secret is not a JSON object with the configured field", field=self._field)
            raise Unavailable("a secret of the service is malformed")
        return tuple(found)

    def _read_field(self, json_secret: str) -> str | None:
        try:
            value = msgspec.json.decode(json_secret, type=dict[str, object]).get(self._field)
        except msgspec.MsgspecError:
            return None
        return value if isinstance(value, str) else None


class GeneratedToken(Secret):
    """A token that is generated again before it expires. `generate` may block."""

    def __init__(self, generate: Callable[[], str], *, now: Callable[[], float] = time.time) -> None:
        self._generate = generate
        self._now = now
        self._tokens: tuple[str, ...] = ()
        self._generated_at = float("-inf")

    async def current_versions(self) -> tuple[str, ...]:
        if self._tokens and 0 <= self._now() - self._generated_at < _TOKEN_SECONDS:
            return self._tokens
        return await self.refresh()

    async def refresh(self) -> tuple[str, ...]:
        generated_at = self._now()
        try:
            async with asyncio.timeout(_MAX_WAIT_SECONDS):
                self._tokens = (await asyncio.to_thread(self._generate),)
        except Exception as error:
            logger.exception("a token could not be generated")
            raise Unavailable("a secret of the service cannot be generated") from error
        self._generated_at = generated_at
        return self._tokens
