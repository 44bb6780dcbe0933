-- version 2
-- The reply for a turn that has started. p_history: see read_history. p_limits: an object with max_tokens and
-- prompt_bytes, see reserve_turn.
create or replace function $functions.started_turn(
    p_conversation_id uuid, p_answer_id uuid, p_history jsonb, p_limits jsonb, p_rate jsonb
) returns jsonb
language plpgsql immutable
set search_path = ''
as $$
begin
    return jsonb_build_object(
        'outcome', 'started',
        'conversation_id', p_conversation_id,
        'answer_id', p_answer_id,
        'history', p_history -> 'messages',
        'message_count', p_history -> 'message_count',
        'max_tokens', p_limits -> 'max_tokens',
        'prompt_bytes', p_limits -> 'prompt_bytes',
        'rate', p_rate
    );
end
$$;
