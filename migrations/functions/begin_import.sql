-- version 1
-- Starts an import: stores the conversation and the first messages. Stores nothing if the rate limit is
-- reached.
--
-- Request: user_id, conversation (an object with the columns of conversations), messages (see
-- import_messages), rate_limit, rate_window (seconds).
-- Returns {"rate", "created", "imported"}: rate as of consume_rate_limit, created is true for a new
-- conversation, imported is the number of new messages.
create or replace function $functions.begin_import(p_request jsonb) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    request    record;
    rate       jsonb;
    is_created boolean;
begin
    select * into request from jsonb_to_record(p_request) as r (
        user_id uuid, conversation jsonb, messages jsonb, rate_limit integer, rate_window integer
    );
    perform set_config('app.user_id', request.user_id::text, true);
    rate := $functions.consume_rate_limit(jsonb_build_object(
        'scope', 'write', 'limit', request.rate_limit, 'window', request.rate_window
    ));
    if (rate -> 'allowed')::boolean is not true then
        return jsonb_build_object('rate', rate, 'created', false, 'imported', 0);
    end if;
    insert into $tables.conversations (id, user_id, title, model, tags, context_window, created_at)
    select c.id, request.user_id, c.title, c.model, c.tags, c.context_window, c.created_at
    from jsonb_populate_record(null::$tables.conversations, request.conversation) as c
    on conflict (id) do nothing;
    is_created := found;
    return jsonb_build_object(
        'rate', rate,
        'created', is_created,
        'imported', $functions.import_messages(jsonb_build_object(
            'user_id', request.user_id,
            'conversation_id', request.conversation -> 'id',
            'messages', request.messages
        ))
    );
end
$$;
