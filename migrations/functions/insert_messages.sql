-- version 1
-- Stores the question and the empty answer of a new turn. If p_question is NULL, the question is stored
-- already.
create or replace function $functions.insert_messages(
    p_user_id uuid, p_conversation_id uuid, p_question_id uuid, p_question text, p_answer_id uuid
) returns void
language plpgsql
set search_path = ''
as $$
declare
    -- Read after all locks, so that the order of the messages is the order of the turns.
    inserted_at timestamptz := clock_timestamp();
begin
    -- One statement, because the triggers update the conversation once for each statement.
    insert into $tables.messages (
        id, conversation_id, user_id, role, content, status, token_count, created_at
    )
    select p_question_id, p_conversation_id, p_user_id, 'user', p_question, 'complete',
        $functions.estimate_tokens(octet_length(p_question)), inserted_at
    where p_question is not null
    union all
    select p_answer_id, p_conversation_id, p_user_id, 'assistant', '', 'streaming', 0,
        inserted_at + interval '1 microsecond';
end
$$;
