-- version 1
-- Gives conversations of another user to app.user_id, with the turns of their answers and all of the usage.
-- Messages follow by their foreign key. Returns the part of the usage that is of today, in USD.
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
    -- The conditions on user_id do not rely on the policies, which an owner with BYPASSRLS ignores.
    update $tables.conversations
    set user_id = $functions.user_id()
    where id = any (p_conversation_ids) and user_id = p_from_user_id;

    -- A key is unique among the turns of one user, and the new user may have used the same key.
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
