-- version 1
-- The time of the answer to regenerate. p_answer: its id, or '' for the position after the newest question.
-- Returns NULL if p_answer is NULL or there is no such answer.
create or replace function $functions.answer_position(
    p_conversation_id uuid, p_answer text
) returns timestamptz
language plpgsql stable
set search_path = ''
as $$
begin
    if p_answer = '' then
        return (
            select max(created_at) + interval '1 microsecond' from $tables.messages
            where conversation_id = p_conversation_id and role = 'user'
        );
    elsif p_answer is not null then
        return (
            select created_at from $tables.messages
            where conversation_id = p_conversation_id and role = 'assistant'
                and id::text = lower(p_answer)
        );
    end if;
    return null;
end
$$;
