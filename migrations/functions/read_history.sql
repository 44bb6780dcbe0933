-- version 2
-- The history for the model: the newest p_limit messages with text before p_before, oldest first. Messages that
-- a content filter refused (metadata "refused") are left out, except the question that is asked now.
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
                and (not metadata ? 'refused' or id = (
                    select question.id
                    from $tables.messages as question
                    where question.conversation_id = p_conversation_id and question.role = 'user'
                        and question.created_at < p_before
                    order by question.created_at desc, question.id desc
                    limit 1
                ))
            order by messages.created_at desc, messages.id desc
            limit p_limit
        ) as newest
    );
end
$$;
