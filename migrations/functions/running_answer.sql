-- version 1
-- The id of the answer that is being written in a conversation. NULL if there is none.
--
-- Request: user_id, conversation_id.
create or replace function $functions.running_answer(p_request jsonb) returns uuid
language plpgsql
set search_path = ''
as $$
declare
    request record;
begin
    select * into request from jsonb_to_record(p_request) as r (conversation_id uuid);
    perform $functions.begin_request(p_request);
    return (
        select id from $tables.turns
        where conversation_id = request.conversation_id and status = 'running'
    );
end
$$;
