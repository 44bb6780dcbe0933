-- version 1
-- Adds to the reserved and the spent amount of a budget of a day. The reserved amount never goes below zero, so
-- that settling does not fail after a row was corrected by hand. A user's budget without a row stays without
-- one: lock_budget creates it from the usage. A shared budget without a row gets one.
create or replace function $functions.change_budget(
    p_subject text, p_user_id uuid, p_day date, p_reserved_usd numeric, p_spent_usd numeric
) returns void
language plpgsql
set search_path = ''
as $$
begin
    if p_subject = 'user' then
        update $tables.budgets
        set reserved_usd = greatest(0, reserved_usd + p_reserved_usd), spent_usd = spent_usd + p_spent_usd
        where user_id = p_user_id and day = p_day;
    else
        insert into $tables.shared_budgets as shared (subject, day, reserved_usd, spent_usd)
        values (p_subject, p_day, greatest(0, p_reserved_usd), p_spent_usd)
        on conflict (subject, day) do update
        set reserved_usd = greatest(0, shared.reserved_usd + p_reserved_usd),
            spent_usd = shared.spent_usd + p_spent_usd;
    end if;
end
$$;
