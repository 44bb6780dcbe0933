-- version 2
-- Settles a turn whose lease has expired. Keeps the text, sets the status, and logs an estimate of the cost,
-- because the exact usage was lost with the process that wrote the answer.
create or replace function $functions.interrupt_turn(p_turn $tables.turns) returns void
language plpgsql
set search_path = ''
as $$
declare
    answer     text;
    tokens_out integer;
    cost       numeric;
begin
    update $tables.turns set status = 'interrupted', settled_at = now() where id = p_turn.id;
    update $tables.messages
    set status = 'interrupted', token_count = $functions.estimate_tokens(octet_length(content))
    where id = p_turn.id
    returning content into answer;
    perform $functions.delete_replaced_messages(p_turn, answer);

    -- A model that was given a limit has not sent more tokens, although its tokens may have more than four
    -- bytes. least() ignores NULL.
    tokens_out := least(
        $functions.estimate_tokens(octet_length(coalesce(answer, ''))), p_turn.max_tokens
    );
    cost := $functions.log_usage(
        p_turn.user_id, p_turn.conversation_id, p_turn.id,
        jsonb_build_array(jsonb_build_object(
            'id', gen_random_uuid(),
            'provider', split_part(p_turn.model, '/', 1),
            'model', substr(p_turn.model, strpos(p_turn.model, '/') + 1),
            'tokens_in', p_turn.prompt_tokens,
            'tokens_out', tokens_out,
            'cost_usd', p_turn.prompt_tokens * p_turn.usd_per_input + tokens_out * p_turn.usd_per_output,
            'priced', p_turn.priced,
            'estimated', true,
            'status', 'interrupted',
            'duration_ms',
            greatest(0, extract(epoch from p_turn.lease_expires_at - p_turn.created_at) * 1000)::integer
        ))
    );
    perform $functions.settle_budget(p_turn, cost);
end
$$;
