-- version 1
-- Frees the amount that a turn reserved on the day of its start, and adds its cost to today, the day of its
-- row in usage_logs. The reserved amount never goes below zero, so that settling does not fail after a row
-- was corrected by hand.
create or replace function $functions.settle_budget(p_turn $tables.turns, p_cost numeric) returns void
language plpgsql
set search_path = ''
as $$
begin
    if p_turn.reserved_usd is not null then
        update $tables.budgets
        set reserved_usd = greatest(0, reserved_usd - p_turn.reserved_usd)
        where user_id = p_turn.user_id and day = (p_turn.created_at at time zone 'UTC')::date;
    end if;

    update $tables.budgets
    set spent_usd = spent_usd + p_cost
    where user_id = p_turn.user_id and day = $functions.today();
end
$$;
