-- version 1
-- Marks the question of an answer as refused by a content filter, or removes the mark. read_history leaves out
-- marked messages.
create or replace function $functions.mark_question(p_answer_id uuid, p_is_refused boolean) returns void
language plpgsql
set search_path = ''
as $$
begin
    update $tables.messages as question
    set metadata = case
        when p_is_refused then question.metadata || '{"refused": true}'
        else question.metadata - 'refused'
    end
    where question.id = (
            select earlier.id
            from $tables.messages as answer
            join $tables.messages as earlier
                on earlier.conversation_id = answer.conversation_id
                and earlier.created_at < answer.created_at
            where answer.id = p_answer_id and earlier.role = 'user'
            order by earlier.created_at desc, earlier.id desc
            limit 1
        )
        and question.metadata ? 'refused' <> p_is_refused;
end
$$;
