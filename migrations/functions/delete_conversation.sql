-- version 1
-- Deletes a conversation with its messages, and asks its running turn to stop. The turn is locked before the
-- conversation, as in finish_turn. Returns false if this user has no such conversation.
--
-- Request: user_id, conversation_id.
create or replace function $functions.delete_conversation(p_request jsonb) returns boolean
language plpgsql
set search_path = ''
as $$
declare
    request record;
begin
    select * into request from jsonb_to_record(p_request) as r (conversation_id uuid);
    perform $functions.begin_request(p_request);
    update $tables.turns set cancel_requested = true
    where conversation_id = request.conversation_id and status = 'running';
    delete from $tables.conversations where id = request.conversation_id;
    return found;
end
$$;
