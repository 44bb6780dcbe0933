-- version 1
-- Moves the conversations of an anonymous user to the user who signed in. The caller must verify the tokens
-- of both users first.
--
-- Request: user_id, anonymous_id, rate_limit, rate_window (seconds).
-- Returns {"outcome", "rate", ...}:
--   claimed       claimed: the number of moved conversations, which may be 0
--   rate_limited
--   conflict      a turn of the anonymous user is running
create or replace function $functions.claim_conversations(p_request jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    request          record;
    rate             jsonb;
    conversation_ids uuid[];
    answer_ids       uuid[];
    spent_today      numeric;
begin
    select * into request from jsonb_to_record(p_request) as r (
        user_id uuid, anonymous_id uuid, rate_limit integer, rate_window integer
    );
    perform $functions.begin_request(p_request);
    rate := $functions.consume_rate_limit(jsonb_build_object(
        'scope', 'write', 'limit', request.rate_limit, 'window', request.rate_window
    ));
    if (rate -> 'allowed')::boolean is not true then
        return jsonb_build_object('outcome', 'rate_limited', 'rate', rate);
    end if;

    perform $functions.begin_request(jsonb_build_object('user_id', request.anonymous_id));
    -- No turn can start in a locked conversation. A conversation that is created meanwhile is not moved.
    select coalesce(array_agg(id), '{}') into conversation_ids
    from (select id from $tables.conversations order by id for update) as locked;
    if exists (
        select from $tables.turns where user_id = request.anonymous_id and status = 'running'
    ) then
        return jsonb_build_object('outcome', 'conflict', 'rate', rate);
    end if;
    select coalesce(array_agg(id), '{}') into answer_ids
    from $tables.messages
    where conversation_id = any (conversation_ids) and role = 'assistant';

    perform set_config('app.user_id', request.user_id::text, true);
    spent_today := $functions.transfer_ownership(request.anonymous_id, conversation_ids, answer_ids);
    -- If there is no row for today, reserve_budget creates it later from the usage.
    update $tables.budgets
    set spent_usd = spent_usd + spent_today
    where user_id = request.user_id and day = $functions.today();
    return jsonb_build_object(
        'outcome', 'claimed', 'claimed', cardinality(conversation_ids), 'rate', rate
    );
end
$$;
