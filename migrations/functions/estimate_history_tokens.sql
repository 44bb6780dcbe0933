-- version 1
-- An estimate of the tokens in the newest messages before a time. NULL as the time: of the newest messages.
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
