"""The endpoint of the usage report: tokens and cost by day, model or conversation."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args

from starlette.responses import Response

from functions.conversations.routing import Call, endpoint
from functions.conversations.schemas import Grouping, UsageByConversation, UsageByDay, UsageByModel
from functions.conversations.usage_store import UsageStore
from shared import web
from shared.endpoints import Reply
from shared.errors import InvalidRequest
from shared.parameters import Choice, Parameter

_DAY = timedelta(days=1)
_DEFAULT_PERIOD = 30 * _DAY
# The days of a leap year, which is also the maximum number of rows by day.
_MAX_PERIOD = 366 * _DAY


class DayOrTime(Parameter[datetime | None], frozen=True, kw_only=True, eq=False):
    """A day in UTC or a time, in ISO 8601. None if the parameter is absent.

    A day is parsed as the start of the day plus `day_offset`.
    """

    day_offset: timedelta = timedelta()

    def parse(self, text: str | None) -> datetime | None:
        if text is None:
            return None
        try:
            if len(text) == len("2026-11-21"):
                day = date.fromisoformat(text)
                return datetime(day.year, day.month, day.day, tzinfo=UTC) + self.day_offset
            moment = datetime.fromisoformat(text)
            # Converted to UTC here, because times at the ends of the calendar overflow.
            return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).astimezone(UTC)
        except (ValueError, OverflowError):
            raise InvalidRequest(
                f"{self.name} must be a date or a time in ISO 8601", field=self.name
            ) from None

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}


_FROM = DayOrTime(
    name="from", description="The first day (UTC), or a time. The default is 30 days before `to`."
)
_TO = DayOrTime(
    name="to",
    day_offset=_DAY,
    description="The last day (UTC), which is included, or a time, which is not. The default is now.",
)
_GROUP_BY = Choice[Grouping](
    name="group_by", choices=get_args(Grouping), description="The kind of group that each row sums up."
)


class UsageRoutes:
    """`now` is in seconds since the epoch."""

    def __init__(self, store: UsageStore, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now

    @endpoint(
        "GET",
        "/api/chat/usage",
        operation_id="getUsage",
        tag="Usage",
        parameters=(_TO, _FROM, _GROUP_BY),
        replies=[
            Reply(
                description="The totals, and the 1,000 most expensive groups by day, model or conversation.",
                types=(UsageByDay, UsageByModel, UsageByConversation),
            )
        ],
    )
    async def report(self, call: Call) -> Response:
        """Report the caller's tokens and cost, and today's budget."""
        until = call[_TO] or datetime.fromtimestamp(self._now(), UTC)
        since = call[_FROM] or until - _DEFAULT_PERIOD
        if not timedelta() <= until - since <= _MAX_PERIOD:
            raise InvalidRequest(f"from must be at most {_MAX_PERIOD.days} days before to", field="from")
        report = await self._store.report(
            call.identity.user_id, since=since, until=until, group_by=call[_GROUP_BY]
        )
        return web.json_response(report)
