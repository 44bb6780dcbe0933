-- version 1
-- Reserves an amount of today's budget of app.user_id, in USD. Returns false if the budget is too small. The
-- row is locked, so parallel turns reserve one after another.
create or replace function $functions.reserve_budget(p_amount numeric, p_budget numeric) returns boolean
language plpgsql
set search_path = ''
as $$
begin
    insert into $tables.budgets (user_id, day, spent_usd)
    select $functions.user_id(), $functions.today(), coalesce(sum(cost_usd), 0)
    from $tables.usage_logs
    where user_id = (select $functions.user_id())
        and created_at >= $functions.today()::timestamp at time zone 'UTC'
    on conflict (user_id, day) do nothing;

    update $tables.budgets
    set reserved_usd = reserved_usd + p_amount
    where user_id = (select $functions.user_id()) and day = $functions.today()
        and spent_usd + reserved_usd + p_amount <= p_budget;
    return found;
end
$$;
