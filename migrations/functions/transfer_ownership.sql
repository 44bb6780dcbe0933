-- version 1
-- Moves conversations of p_from_user_id to app.user_id, with the turns of their answers and all usage of
-- p_from_user_id. The foreign key moves the messages. Returns the cost of today's usage, in USD.
create or replace function $functions.transfer_ownership(
    p_from_user_id uuid, p_conversation_ids uuid[], p_answer_ids uuid[]
) returns numeric
language plpgsql
security definer
set search_path = ''
as $$
declare
    spent_today numeric;
begin
    perform set_config('app.transfer_source_id', p_from_user_id::text, true);
    -- The conditions on user_id are needed where the policies do not apply: for an owner with BYPASSRLS.
    update $tables.conversations
    set user_id = $functions.user_id()
    where id = any (p_conversation_ids) and user_id = p_from_user_id;

    -- The keys are removed, because the new user may have used the same key.
    update $tables.turns
    set user_id = $functions.user_id(), idempotency_key = null, request_hash = null
    where id = any (p_answer_ids) and user_id = p_from_user_id;

    with transferred as (
        update $tables.usage_logs set user_id = $functions.user_id() where user_id = p_from_user_id
        returning cost_usd, created_at
    )
    select coalesce(sum(cost_usd), 0) into spent_today
    from transferred
    where created_at >= $functions.today()::timestamp at time zone 'UTC';

    perform set_config('app.transfer_source_id', '', true);
    return spent_today;
end
$$;
