-- version 1
-- The turn that an earlier call started: the same call if its reply was lost, or another call with the same
-- idempotency key. NULL if there is none. Locks the key, so that calls with the same key run one after
-- another.
create or replace function $functions.previous_turn(
    p_user_id uuid, p_attempt_id uuid, p_key text
) returns $tables.turns
language plpgsql
set search_path = ''
as $$
declare
    previous $tables.turns;
begin
    if p_key is not null then
        perform pg_advisory_xact_lock(hashtextextended(p_user_id::text || p_key, 0));
    end if;
    select * into previous from $tables.turns where attempt_id = p_attempt_id;
    if not found and p_key is not null then
        select * into previous from $tables.turns where user_id = p_user_id and idempotency_key = p_key;
    end if;
    return previous;
end
$$;
