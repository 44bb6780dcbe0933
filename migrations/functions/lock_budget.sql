-- version 1
-- Locks the row of a budget of a day, and returns what is left of the limit in USD: negative if more was spent.
-- The row is locked until the end of the transaction, so parallel turns reserve one after another.
--
-- A transaction locks budgets in the order 'user', 'anonymous', 'total'. All turns wait for 'total', so it is
-- locked last and for the shortest time.
create or replace function $functions.lock_budget(
    p_subject text, p_day date, p_limit numeric
) returns numeric
language plpgsql
set search_path = ''
as $$
declare
    left_usd numeric;
begin
    for attempt in 1..2 loop
        if p_subject = 'user' then
            select p_limit - spent_usd - reserved_usd into left_usd
            from $tables.budgets
            where user_id = (select $functions.user_id()) and day = p_day
            for update;
        else
            select p_limit - spent_usd - reserved_usd into left_usd
            from $tables.shared_budgets
            where subject = p_subject and day = p_day
            for update;
        end if;
        exit when found;
        if p_subject = 'user' then
            insert into $tables.budgets (user_id, day, spent_usd)
            select $functions.user_id(), p_day, coalesce(sum(cost_usd), 0)
            from $tables.usage_logs
            where user_id = (select $functions.user_id())
                and created_at >= p_day::timestamp at time zone 'UTC'
            on conflict (user_id, day) do nothing;
        else
            -- A shared budget counts from its first turn. The cost of other users' earlier turns cannot be read
            -- under row-level security.
            insert into $tables.shared_budgets (subject, day) values (p_subject, p_day)
            on conflict (subject, day) do nothing;
        end if;
    end loop;
    return left_usd;
end
$$;
