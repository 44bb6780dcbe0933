-- version 1
-- The reply for a turn that has started. The history ends before the answer, or before the messages that the
-- answer replaces.
create or replace function $functions.started_turn(
    p_conversation_id uuid,
    p_answer_id       uuid,
    p_history_limit   integer,
    p_replaces_from   timestamptz,
    p_rate            jsonb
) returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
    return jsonb_build_object(
        'outcome', 'started',
        'conversation_id', p_conversation_id,
        'answer_id', p_answer_id,
        'history', $functions.read_history(
            p_conversation_id, p_history_limit,
            coalesce(p_replaces_from, (select created_at from $tables.messages where id = p_answer_id))
        ),
        'rate', p_rate
    );
end
$$;
