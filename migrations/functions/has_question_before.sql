-- version 1
-- Whether the conversation has a question before p_before. False if p_before is NULL.
create or replace function $functions.has_question_before(
    p_conversation_id uuid, p_before timestamptz
) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
    return exists (
        select from $tables.messages
        where conversation_id = p_conversation_id and role = 'user' and created_at < p_before
    );
end
$$;
