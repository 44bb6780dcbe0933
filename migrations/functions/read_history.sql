-- version 1
-- The history for the model: the newest p_limit messages with text before p_before, oldest first.
create or replace function $functions.read_history(
    p_conversation_id uuid, p_limit integer, p_before timestamptz
) returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
    return (
        select coalesce(
            jsonb_agg(
                jsonb_build_object('role', newest.role, 'content', newest.content)
                order by newest.created_at, newest.id
            ),
            '[]'
        )
        from (
            select id, role, content, created_at
            from $tables.messages
            where conversation_id = p_conversation_id and content <> '' and role <> 'system'
                and created_at < p_before
            order by messages.created_at desc, messages.id desc
            limit p_limit
        ) as newest
    );
end
$$;
