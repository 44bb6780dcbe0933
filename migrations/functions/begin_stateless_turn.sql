-- version 2
-- Starts a turn whose messages are not stored. Only its cost is stored.
--
-- Request: as for begin_turn, with prompt_tokens, and without the fields of the conversation, the question
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
    reserved_usd  numeric;
begin
    perform $functions.require_fields(
        p_request, 'prompt_tokens', 'max_tokens', 'rate_limit', 'rate_window', 'budget'
    );
    select * into request from jsonb_to_record(p_request) as r (
        user_id uuid, answer_id uuid, idempotency_key text, request_hash text, prompt_tokens integer,
        max_tokens integer, usd_per_input numeric, usd_per_output numeric, rate_limit integer,
        rate_window integer, budget numeric
    );
    perform set_config('app.user_id', request.user_id::text, true);

    -- 1. Is the call a repeat?
    previous_turn := $functions.previous_turn(p_request);
    if previous_turn.attempt_id = request.answer_id then
        return jsonb_build_object('outcome', 'started', 'answer_id', previous_turn.id);
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

    -- 3. Does the budget allow the turn?
    perform $functions.interrupt_expired_turns();
    if request.budget > 0 then
        reserved_usd := $functions.estimate_turn_cost(
            request.prompt_tokens, request.max_tokens, request.usd_per_input, request.usd_per_output
        );
        if not $functions.reserve_budget(reserved_usd, request.budget) then
            return jsonb_build_object(
                'outcome', 'budget_exceeded', 'rate', rate,
                'renews_in', $functions.seconds_until_utc_midnight()
            );
        end if;
    end if;

    -- 4. Store the turn.
    perform $functions.start_turn(
        p_request, request.answer_id, null, request.prompt_tokens, null, reserved_usd
    );
    return jsonb_build_object('outcome', 'started', 'answer_id', request.answer_id, 'rate', rate);
end
$$;
