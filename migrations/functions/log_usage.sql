-- version 1
-- Writes the usage of an answer, one row for each model call. Returns the cost of the new rows in USD. A row
-- whose id exists already is skipped.
--
-- p_usage: an array of objects with the columns of usage_logs; cost_usd is a decimal string.
create or replace function $functions.log_usage(
    p_user_id uuid, p_conversation_id uuid, p_answer_id uuid, p_usage jsonb
) returns numeric
language plpgsql
set search_path = ''
as $$
declare
    cost numeric;
begin
    with logged as (
        insert into $tables.usage_logs (
            id, user_id, conversation_id, message_id, provider, model,
            tokens_in, tokens_out, tokens_cache_read, tokens_cache_write, tokens_reasoning,
            cost_usd, priced, estimated, status, ttft_ms, duration_ms
        )
        select u.id, p_user_id, p_conversation_id, p_answer_id, u.provider, u.model,
            u.tokens_in, u.tokens_out, coalesce(u.tokens_cache_read, 0),
            coalesce(u.tokens_cache_write, 0), coalesce(u.tokens_reasoning, 0),
            u.cost_usd, u.priced, coalesce(u.estimated, false), u.status, u.ttft_ms, u.duration_ms
        from jsonb_populate_recordset(null::$tables.usage_logs, p_usage) as u
        on conflict (id) do nothing
        returning cost_usd
    )
    select coalesce(sum(cost_usd), 0) into cost from logged;
    return cost;
end
$$;
