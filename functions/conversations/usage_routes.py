"""The route of the usage report: which days, and by what it is broken down."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from functions.conversations.parameters import caller, choice, parameter
from functions.conversations.routing import resource
from functions.conversations.schemas import Grouping
from functions.conversations.usage_store import UsageStore
from shared import web
from shared.auth import TokenVerifier
from shared.errors import InvalidRequest

_GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)
_DAY = timedelta(days=1)
_USUALLY = 30 * _DAY
# A leap year's worth of rows.
_AT_MOST = 366 * _DAY


class UsageRoutes:
    """`now` is in seconds since the epoch."""

    def __init__(
        self, *, verifier: TokenVerifier, store: UsageStore, now: Callable[[], float] = time.time
    ) -> None:
        self._verifier = verifier
        self._store = store
        self._now = now

    def routes(self) -> list[Route]:
        return [resource("/api/chat/usage", GET=self.report)]

    async def report(self, request: Request) -> Response:
        """`from` and `to` are days in UTC, both of them counted, or moments, the last one not counted.
        Without them it is the last 30 days."""
        identity = await caller(request, self._verifier)
        until = _moment(request, "to", _DAY) or datetime.fromtimestamp(self._now(), UTC)
        since = _moment(request, "from", timedelta()) or until - _USUALLY
        if not timedelta() <= until - since <= _AT_MOST:
            raise InvalidRequest(f"from must be before to, by {_AT_MOST.days} days at most", field="from")
        report = await self._store.report(
            identity.user_id,
            since=since,
            until=until,
            group_by=choice(request, "group_by", _GROUPINGS),
        )
        return web.json_response(report)


def _moment(request: Request, name: str, day_adds: timedelta) -> datetime | None:
    text = parameter(request, name)
    if text is None:
        return None
    try:
        if len(text) == len("2026-11-21"):
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=UTC) + day_adds
        moment = datetime.fromisoformat(text)
        # Compared and subtracted in UTC, where the ends of the calendar overflow.
        return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{name} must be a date or a time in ISO 8601", field=name) from None
