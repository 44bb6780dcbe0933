-- version 1
-- Stores the messages of an import that are not stored yet. Returns their number, or NULL if the conversation
-- was deleted. The ids are made from the user's id, so an existing message with the same id belongs to this
-- user.
--
-- Request: user_id, conversation_id, messages (an array of objects with the columns of messages).
create or replace function $functions.import_messages(p_request jsonb) returns integer
language plpgsql
set search_path = ''
as $$
declare
    request        record;
    imported_count integer;
begin
    select * into request from jsonb_to_record(p_request) as r (
        user_id uuid, conversation_id uuid, messages jsonb
    );
    perform set_config('app.user_id', request.user_id::text, true);
    perform from $tables.conversations where id = request.conversation_id for no key update;
    if not found then
        return null;
    end if;
    insert into $tables.messages (
        id, conversation_id, user_id, role, content, status, token_count, metadata, created_at
    )
    select m.id, request.conversation_id, request.user_id, m.role, m.content, m.status, m.token_count,
        m.metadata, m.created_at
    from jsonb_populate_recordset(null::$tables.messages, request.messages) as m
    on conflict (id) do nothing;
    get diagnostics imported_count = row_count;
    return imported_count;
end
$$;
