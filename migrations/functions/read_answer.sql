-- version 1
-- Reads an answer. Returns {"status", "length", "text", "metadata", "conversation_id", "usage"}: length
-- counts the characters of the whole answer, text begins after offset. Returns NULL if this user has no such
-- answer.
--
-- Request: user_id, answer_id, offset (characters).
create or replace function $functions.read_answer(p_request jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    request record;
begin
    select * into request from jsonb_to_record(p_request) as r (answer_id uuid, "offset" integer);
    perform $functions.begin_request(p_request);
    return (
        select jsonb_build_object(
            'status', m.status,
            'length', char_length(m.content),
            'text', substr(m.content, coalesce(request."offset", 0) + 1),
            'metadata', m.metadata,
            'conversation_id', m.conversation_id,
            'usage', (
                select to_jsonb(u) from $tables.usage_logs as u
                where u.message_id = m.id
                -- If several models were asked: the usage of the call that gave the answer.
                order by u.created_at desc, (u.status = m.status) desc, u.tokens_out desc
                limit 1
            )
        )
        from $tables.messages as m
        where m.id = request.answer_id and m.role = 'assistant'
    );
end
$$;
