"""What must not be known: given in the environment, kept elsewhere and read when first needed, or made
for a while.

Whoever uses a secret asks for it each time, which costs nothing while it is fresh, and never keeps it:
it may be another one the next time. Where it is kept is `shared.aws`'s business.
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

# Older than this, a secret is read again, beside whoever uses it meanwhile.
_MAX_AGE = 300.0
# Seconds between two readings that were asked for: what a stream of invented tokens can cause at most.
_COOL_DOWN = 5.0
# Seconds that somebody waits for a reading, which goes on for those who come after.
_PATIENCE = 2.0
# A database token lives for 15 minutes, and a connection may take a while to come to it.
_TOKEN_SECONDS = 600.0


class Secret(ABC):
    """A secret in its versions. All methods raise Unavailable where it could never be read."""

    _refused: str | None = None

    @abstractmethod
    async def versions(self) -> tuple[str, ...]:
        """Those known to be in force, the current one first; never empty."""

    @abstractmethod
    async def renewed(self) -> tuple[str, ...]:
        """All that may be in force, read anew unless that was done a moment ago: something that was
        shown to us fits none of the known ones, or none of them was accepted."""

    async def value(self) -> str:
        """The one to present to somebody else."""
        return self._best(await self.versions())

    async def instead_of(self, refused: str) -> str | None:
        """The one to present after `refused` was not accepted, or None where no other is known."""
        known = await self.value()
        if known != refused:  # somebody else had it refused first
            return known
        self._refused = refused
        other = self._best(await self.renewed())
        return None if other == refused else other

    def _best(self, versions: tuple[str, ...]) -> str:
        # In the middle of a rotation it is not the current version that is accepted.
        return next((version for version in versions if version != self._refused), versions[0])


class StaticSecret(Secret):
    """From the environment, and the same for the life of the process."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def versions(self) -> tuple[str, ...]:
        return (self.text,)

    async def renewed(self) -> tuple[str, ...]:
        return (self.text,)

    async def value(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StaticSecret) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


class SecretsManagerSecret(Secret):
    """Kept where `read` finds it, which blocks, and returns None for a stage that no version has.

    A value that was read once stays in use, however old, while it cannot be read again. `now` is
    wall-clock time, as a monotonic clock may stand still while Lambda keeps the process frozen.
    """

    def __init__(
        self, name: str, read: Callable[[Stage], str | None], *, now: Callable[[], float] = time.time
    ) -> None:
        self._name = name
        self._read = read
        self._now = now
        self._versions: tuple[str, ...] = ()
        self._stages: tuple[Stage, ...] = ("AWSCURRENT",)
        self._read_at = self._tried_at = self._asked_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def versions(self) -> tuple[str, ...]:
        if not self._versions:
            await self._wait(self._begin())
        elif not self._within(self._read_at, _MAX_AGE) and not self._within(self._tried_at, _COOL_DOWN):
            self._begin()
        return self._known()

    async def renewed(self) -> tuple[str, ...]:
        if self._reading is not None and not self._reading.done():
            await self._wait(self._reading)
        if not self._within(self._asked_at, _COOL_DOWN):
            self._asked_at = self._now()
            # From here on all three: one was asked for that was not the current one.
            self._stages = ("AWSCURRENT", "AWSPENDING", "AWSPREVIOUS")
            await self._wait(self._begin())
        return self._known()

    def _known(self) -> tuple[str, ...]:
        if not self._versions:
            raise Unavailable("a secret that this needs cannot be read")
        return self._versions

    def _begin(self) -> asyncio.Task[None]:
        """One reading at a time, for all who wait."""
        if self._reading is None or self._reading.done():
            self._tried_at = self._now()
            self._reading = asyncio.create_task(self._read_versions())
        return self._reading

    async def _wait(self, reading: asyncio.Task[None]) -> None:
        # Not awaited itself: who gives up does not take the others' reading along.
        await asyncio.wait({reading}, timeout=_PATIENCE)

    async def _read_versions(self) -> None:
        found = await asyncio.gather(
            *(asyncio.to_thread(self._read, stage) for stage in self._stages), return_exceptions=True
        )
        if isinstance(found[0], BaseException):
            # Whatever went wrong, a value at hand is better than none.
            logger.warning("a secret could not be read", secret=self._name, exc_info=found[0])
        elif found[0] is not None:
            self._versions = tuple(dict.fromkeys(text for text in found if isinstance(text, str)))
            self._read_at = self._now()

    def _within(self, since: float, seconds: float) -> bool:
        # The lower bound: a wall clock that is set back must not make a secret young for hours.
        return 0 <= self._now() - since < seconds


class JsonFieldSecret(Secret):
    """A field of a secret that is a JSON object; versions that lack it are none."""

    def __init__(self, whole: Secret, field: str) -> None:
        self._whole = whole
        self._field = field

    async def versions(self) -> tuple[str, ...]:
        return self._of(await self._whole.versions())

    async def renewed(self) -> tuple[str, ...]:
        return self._of(await self._whole.renewed())

    def _of(self, wholes: tuple[str, ...]) -> tuple[str, ...]:
        found = [text for whole in wholes if (text := self._in(whole))]
        if not found:
            logger.error("a secret is no JSON object with the field that is wanted", field=self._field)
            raise Unavailable("a secret that this needs is malformed")
        return tuple(found)

    def _in(self, whole: str) -> str | None:
        try:
            value = msgspec.json.decode(whole, type=dict[str, object]).get(self._field)
        except msgspec.MsgspecError:
            return None
        return value if isinstance(value, str) else None


class GeneratedToken(Secret):
    """Made here by `make`, which may block, and good for a while: a token."""

    def __init__(self, make: Callable[[], str], *, now: Callable[[], float] = time.time) -> None:
        self._make = make
        self._now = now
        self._made: tuple[str, ...] = ()
        self._made_at = float("-inf")

    async def versions(self) -> tuple[str, ...]:
        if self._made and 0 <= self._now() - self._made_at < _TOKEN_SECONDS:
            return self._made
        return await self.renewed()

    async def renewed(self) -> tuple[str, ...]:
        self._made_at = self._now()
        try:
            async with asyncio.timeout(_PATIENCE):
                self._made = (await asyncio.to_thread(self._make),)
        except Exception as error:
            logger.exception("a token could not be made")
            raise Unavailable("a secret that this needs cannot be made") from error
        return self._made
