-- version 1
-- Asks the running turn of a conversation to stop; another process may run it. Returns {"answer_id", "status"}
-- of this turn with the status 'running'. If no turn is running: of the newest answer, with its final status.
-- Returns NULL if this user has no such conversation, or if it has no answer.
--
-- Request: user_id, conversation_ids (the first one that the user has counts).
create or replace function $functions.cancel_conversation(p_request jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    request   record;
    cancelled uuid;
    answer    jsonb;
begin
    select * into request from jsonb_to_record(p_request) as r (conversation_ids uuid[]);
    perform $functions.begin_request(p_request);
    for n in 1 .. coalesce(cardinality(request.conversation_ids), 0) loop
        update $tables.turns set cancel_requested = true
        where conversation_id = request.conversation_ids[n] and status = 'running'
        returning id into cancelled;
        if found then
            return jsonb_build_object('answer_id', cancelled, 'status', 'running');
        end if;
        select jsonb_build_object('answer_id', id, 'status', status) into answer
        from $tables.messages
        where conversation_id = request.conversation_ids[n] and role = 'assistant'
        order by created_at desc, id desc
        limit 1;
        if found then
            return answer;
        end if;
    end loop;
    return null;
end
$$;
