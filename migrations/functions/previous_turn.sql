-- version 2
-- The turn that an earlier call started: the same call if its reply was lost, or another call with the same
-- idempotency key. A call that resumes an answer and has no key finds the newest turn with the same request
-- hash and without a key that is running or began in the last 10 minutes. NULL if there is none. Locks the
-- key, so that calls with the same key run one after another.
--
-- p_request: the request of begin_turn or begin_stateless_turn.
create or replace function $functions.previous_turn(p_request jsonb) returns $tables.turns
language plpgsql
set search_path = ''
as $$
declare
    request  record;
    previous $tables.turns;
begin
    select * into request from jsonb_to_record(p_request) as r (
        user_id uuid, answer_id uuid, idempotency_key text, request_hash text, resumes boolean
    );
    if request.idempotency_key is not null then
        perform pg_advisory_xact_lock(
            hashtextextended(request.user_id::text || request.idempotency_key, 0)
        );
    end if;
    select * into previous from $tables.turns where attempt_id = request.answer_id;
    if found then
        return previous;
    elsif request.idempotency_key is not null then
        select * into previous from $tables.turns
        where user_id = request.user_id and idempotency_key = request.idempotency_key;
    elsif request.resumes then
        select * into previous from $tables.turns
        where user_id = request.user_id and request_hash = decode(request.request_hash, 'hex')
            and idempotency_key is null
            and (status = 'running' or created_at > now() - interval '10 minutes')
        order by created_at desc, id desc
        limit 1;
    end if;
    return previous;
end
$$;
