-- version 1
-- Whether p_question is the text of the newest question in the conversation.
create or replace function $functions.is_newest_question(
    p_conversation_id uuid, p_question text
) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
    return coalesce(
        (
            select content = p_question
            from $tables.messages
            where conversation_id = p_conversation_id and role = 'user'
            order by created_at desc, id desc
            limit 1
        ),
        false
    );
end
$$;
