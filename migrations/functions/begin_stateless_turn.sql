-- version 2
-- Starts a turn whose messages are not stored. Only its cost is stored.
--
-- Request: as for begin_turn, with prompt_tokens, prompt_bytes and fixed_bytes (the sizes of the whole prompt,
-- and of system prompt and question: see prompt_size), and without the fields of the conversation, the question
-- and the history.
-- Returns {"outcome", ...}: as begin_turn, but never not_found or conflict. `repeated` has no ids, because
-- there is no stored answer to replay.
create or replace function $functions.begin_stateless_turn(p_request jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    request       record;
    previous_turn $tables.turns;
    rate          jsonb;
    prompt_bytes  integer;
    reservation   jsonb;
begin
    perform $functions.require_fields(
        p_request, 'prompt_tokens', 'max_tokens', 'rate_limit', 'rate_window', 'budget'
    );
    select * into request from jsonb_to_record(p_request) as r (
        user_id uuid, answer_id uuid, idempotency_key text, request_hash text, prompt_tokens integer,
        prompt_bytes integer, fixed_bytes integer, rate_limit integer, rate_window integer
    );
    perform set_config('app.user_id', request.user_id::text, true);

    -- 1. Is the call a repeat?
    previous_turn := $functions.previous_turn(p_request);
    if previous_turn.attempt_id = request.answer_id then
        return $functions.started_turn(null, previous_turn.id, null, to_jsonb(previous_turn), null);
    elsif previous_turn.request_hash <> decode(request.request_hash, 'hex') then
        return jsonb_build_object('outcome', 'mismatch');
    elsif previous_turn.status = 'error' and not exists (
        select from $tables.usage_logs where message_id = previous_turn.id and tokens_out > 0
    ) then
        -- No model answered, so the key can be used again.
        update $tables.turns set idempotency_key = null, request_hash = null where id = previous_turn.id;
    elsif previous_turn.id is not null then
        return jsonb_build_object('outcome', 'repeated');
    end if;

    -- 2. Does the rate limit allow the turn?
    rate := $functions.consume_rate_limit(jsonb_build_object(
        'scope', 'chat', 'limit', request.rate_limit, 'window', request.rate_window
    ));
    if (rate -> 'allowed')::boolean is not true then
        return jsonb_build_object('outcome', 'rate_limited', 'rate', rate);
    end if;

    -- 3. Do the budgets allow the turn?
    perform $functions.interrupt_expired_turns();
    -- Four bytes are estimated as one token.
    prompt_bytes := coalesce(request.prompt_bytes, 4 * request.prompt_tokens);
    reservation := $functions.reserve_turn(
        p_request, coalesce(request.fixed_bytes, prompt_bytes), prompt_bytes
    );
    if reservation is null then
        return jsonb_build_object(
            'outcome', 'budget_exceeded', 'rate', rate,
            'renews_in', $functions.seconds_until_utc_midnight()
        );
    end if;

    -- 4. Store the turn.
    perform $functions.start_turn(
        p_request, request.answer_id, null,
        least(request.prompt_tokens, (reservation ->> 'prompt_bytes')::integer), null, reservation
    );
    return $functions.started_turn(null, request.answer_id, null, reservation, rate);
end
$$;
