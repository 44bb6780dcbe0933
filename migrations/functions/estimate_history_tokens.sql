-- version 1
-- Estimates the tokens in the newest p_limit messages before p_before, or in the newest messages if p_before
-- is NULL.
create or replace function $functions.estimate_history_tokens(
    p_conversation_id uuid, p_limit integer, p_before timestamptz
) returns integer
language plpgsql stable
set search_path = ''
as $$
begin
    return (
        select coalesce(sum($functions.estimate_tokens(octet_length(newest.content))), 0)
        from (
            select content from $tables.messages
            where conversation_id = p_conversation_id and created_at < coalesce(p_before, 'infinity')
            order by created_at desc, id desc
            limit p_limit
        ) as newest
    );
end
$$;
