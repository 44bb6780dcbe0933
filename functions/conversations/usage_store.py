"""The SQL of the usage report. It runs as the user whose usage is reported."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from functions.conversations.schemas import (
    Grouping,
    UsageByConversation,
    UsageByDay,
    UsageByModel,
    UsageReport,
)
from shared.db import Database

# The columns of a group, the order of the rows, and the type of the report.
_GROUPINGS: Mapping[Grouping, tuple[str, str, type[UsageReport]]] = {
    "day": ("day", "day", UsageByDay),
    "model": ("provider, model", "cost desc, provider, model", UsageByModel),
    "conversation": ("conversation_id", "cost desc, conversation_id", UsageByConversation),
}
# Lambda buffers at most 6 MB of a response. The totals also include the groups that are left out.
_MAX_ROWS = 1000


class UsageStore:
    def __init__(self, database: Database, budget_usd_per_day: Decimal) -> None:
        self._database = database
        self._budget = budget_usd_per_day

    async def report(
        self, user_id: UUID, *, since: datetime, until: datetime, group_by: Grouping
    ) -> UsageReport:
        """Reports the usage from `since` (included) to `until` (not included), and today's budget."""
        keys, order, report_type = _GROUPINGS[group_by]
        totals, *rows = await self._database.fetch(
            user_id,
            f"""
            with used as (
                select *, to_char(created_at at time zone 'UTC', 'YYYY-MM-DD') as day
                from $tables.usage_logs
                where created_at >= %s and created_at < %s
            ),
            -- One row for each group, and one row for all groups: the grouping set ().
            figures as (
                select {keys}, grouping({keys}) > 0 as is_total,
                    count(distinct message_id) as turns,
                    coalesce(sum(tokens_in), 0)::bigint as tokens_in,
                    coalesce(sum(tokens_out), 0)::bigint as tokens_out,
                    coalesce(sum(tokens_cache_read), 0)::bigint as tokens_cache_read,
                    coalesce(sum(tokens_cache_write), 0)::bigint as tokens_cache_write,
                    coalesce(sum(tokens_reasoning), 0)::bigint as tokens_reasoning,
                    coalesce(sum(cost_usd), 0) as cost,
                    count(distinct message_id) filter (where estimated) as estimated_turns
                from used
                group by grouping sets ((), ({keys}))
            ),
            today as (
                select %s::numeric as budget, coalesce(b.reserved_usd, 0) as reserved,
                    -- A day has no row before the first turn that reserves an amount.
                    coalesce(b.spent_usd, (
                        select sum(cost_usd) from $tables.usage_logs
                        where created_at >= $functions.today()::timestamp at time zone 'UTC'
                    ), 0) as spent
                from (select $functions.today() as day) as day
                left join $tables.budgets as b using (day)
            )
            select figures.*,
                trim_scale(cost)::text as cost_usd,
                coalesce(round(estimated_turns::numeric / nullif(turns, 0), 4), 0)::float8 as estimated_share,
                trim_scale(budget)::text as limit_usd,
                trim_scale(spent)::text as spent_usd,
                trim_scale(reserved)::text as reserved_usd,
                trim_scale(greatest(0, budget - spent - reserved))::text as left_usd,
                ($functions.today() + 1)::timestamp at time zone 'UTC' as renews_at
            from figures cross join today
            order by is_total desc, {order}
            limit %s
            """,  # noqa: S608 (constants)
            (since, until, self._budget, 1 + _MAX_ROWS),
        )
        return msgspec.convert(
            {"totals": totals, "rows": rows, "budget": totals if self._budget else None}, report_type
        )
