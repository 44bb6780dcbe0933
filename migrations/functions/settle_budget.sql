-- version 2
-- Frees the amount that a turn reserved on the day of its start, and adds its cost to today, the day of its
-- row in usage_logs. The order of the budgets is that of lock_budget.
create or replace function $functions.settle_budget(p_turn $tables.turns, p_cost numeric) returns void
language plpgsql
set search_path = ''
as $$
declare
    first_day    date := (p_turn.created_at at time zone 'UTC')::date;
    freed_usd    numeric := -coalesce(p_turn.reserved_usd, 0);
    reserved_for text[] := coalesce(
        -- A version without shared budgets reserved for the user only.
        p_turn.reserved_for, case when p_turn.reserved_usd is not null then array['user'] end, '{}'
    );
    subject      text;
begin
    foreach subject in array array['user', 'anonymous', 'total'] loop
        if subject <> all (reserved_for) then
            -- The cost of a turn without a reservation counts if the user has a budget later on the same day.
            if subject = 'user' then
                perform $functions.change_budget(subject, p_turn.user_id, $functions.today(), 0, p_cost);
            end if;
        elsif first_day = $functions.today() then
            perform $functions.change_budget(subject, p_turn.user_id, first_day, freed_usd, p_cost);
        else
            perform $functions.change_budget(subject, p_turn.user_id, first_day, freed_usd, 0);
            perform $functions.change_budget(subject, p_turn.user_id, $functions.today(), 0, p_cost);
        end if;
    end loop;
end
$$;
