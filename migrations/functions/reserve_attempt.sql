-- version 1
-- Adds the cost of a failed attempt to the reservation of a running turn, before the next attempt. Returns
-- false if a budget is too small for it, or if the turn is not running. Then the caller must not ask a model
-- again.
--
-- Request: user_id, answer_id, usd (the cost of the failed attempt), budget, budget_anonymous, budget_total
-- (see reserve_turn).
create or replace function $functions.reserve_attempt(p_request jsonb) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    request record;
    turn    $tables.turns;
    day     date;
    fits    boolean := true;
    subject text;
begin
    perform $functions.require_fields(p_request, 'usd', 'budget', 'budget_anonymous', 'budget_total');
    select * into request from jsonb_to_record(p_request) as r (
        user_id uuid, answer_id uuid, usd numeric, budget numeric, budget_anonymous numeric,
        budget_total numeric
    );
    perform set_config('app.user_id', request.user_id::text, true);
    select * into turn from $tables.turns
    where id = request.answer_id and status = 'running'
    for update;
    if not found then
        return false;
    end if;
    -- Settling frees the reservation on the day of the turn.
    day := (turn.created_at at time zone 'UTC')::date;
    foreach subject in array coalesce(turn.reserved_for, '{}') loop
        fits := fits and request.usd <= $functions.lock_budget(
            subject, day,
            case subject
                when 'user' then request.budget
                when 'anonymous' then request.budget_anonymous
                else request.budget_total
            end
        );
    end loop;
    if not fits then
        return false;
    end if;
    foreach subject in array coalesce(turn.reserved_for, '{}') loop
        perform $functions.change_budget(subject, request.user_id, day, request.usd, 0);
    end loop;
    update $tables.turns set reserved_usd = reserved_usd + request.usd where id = turn.id;
    return true;
end
$$;
