-- version 2
-- Writes the row of a turn that starts: a new row, or the existing row of a turn that runs again.
--
-- p_request: the request of begin_turn or begin_stateless_turn. p_reservation: see reserve_turn.
create or replace function $functions.start_turn(
    p_request         jsonb,
    p_turn_id         uuid,
    p_conversation_id uuid,
    p_prompt_tokens   integer,
    p_replaces_from   timestamptz,
    p_reservation     jsonb
) returns void
language plpgsql
set search_path = ''
as $$
begin
    insert into $tables.turns (
        id, user_id, attempt_id, conversation_id, lease_expires_at, idempotency_key, request_hash,
        model, prompt_tokens, usd_per_input, usd_per_output, priced, replaces_from,
        reserved_usd, reserved_for, prompt_bytes, max_tokens
    )
    select p_turn_id, r.user_id, r.answer_id, p_conversation_id, now() + r.lease, r.idempotency_key,
        decode(r.request_hash, 'hex'), r.model, p_prompt_tokens, r.usd_per_input, r.usd_per_output,
        r.priced, p_replaces_from, reservation.reserved_usd, reservation.reserved_for,
        reservation.prompt_bytes, reservation.max_tokens
    from jsonb_to_record(p_request) as r (
        user_id uuid, answer_id uuid, lease interval, idempotency_key text, request_hash text,
        model text, usd_per_input numeric, usd_per_output numeric, priced boolean
    ), jsonb_to_record(p_reservation) as reservation (
        reserved_usd numeric, reserved_for text[], prompt_bytes integer, max_tokens integer
    )
    on conflict (id) do update
    set status = 'running', settled_at = null, attempt_id = excluded.attempt_id,
        cancel_requested = false, created_at = now(), lease_expires_at = excluded.lease_expires_at,
        model = excluded.model, prompt_tokens = excluded.prompt_tokens,
        usd_per_input = excluded.usd_per_input, usd_per_output = excluded.usd_per_output,
        priced = excluded.priced, reserved_usd = excluded.reserved_usd,
        reserved_for = excluded.reserved_for, prompt_bytes = excluded.prompt_bytes,
        max_tokens = excluded.max_tokens;
end
$$;
