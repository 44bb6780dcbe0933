-- version 1
-- Whether an answer of the conversation is being written.
create or replace function $functions.has_running_turn(p_conversation_id uuid) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
    return exists (
        select from $tables.turns where conversation_id = p_conversation_id and status = 'running'
    );
end
$$;
