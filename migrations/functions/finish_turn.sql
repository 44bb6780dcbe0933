-- version 2
-- Settles a turn once: stores the answer, the tokens, the cost and the status together. Returns the final
-- status, which differs from the requested one if another process settled the turn before. Returns NULL if
-- this user has no such turn. The usage is logged even if the conversation was deleted meanwhile.
--
-- Request: user_id, answer_id, status, content, token_count, metadata, usage (see log_usage). If metadata has
-- "refused", a content filter refused the question or cut the answer: then the question is marked too, and
-- read_history leaves both out. An answer without it removes the mark of its question.
create or replace function $functions.finish_turn(p_request jsonb) returns text
language plpgsql
set search_path = ''
as $$
declare
    request      record;
    settled_turn $tables.turns;
    cost         numeric;
begin
    perform $functions.require_fields(p_request, 'status', 'content', 'token_count', 'usage');
    select * into request from jsonb_to_record(p_request) as r (
        user_id uuid, answer_id uuid, status text, content text, token_count integer, metadata jsonb,
        usage jsonb
    );
    perform set_config('app.user_id', request.user_id::text, true);
    update $tables.turns
    set status = request.status, settled_at = now()
    where id = request.answer_id and status = 'running'
    returning * into settled_turn;
    if not found then
        return (select status from $tables.turns where id = request.answer_id);
    end if;

    update $tables.messages
    set status = request.status, content = request.content, token_count = request.token_count,
        metadata = coalesce(request.metadata, '{}')
    where id = request.answer_id;
    perform $functions.delete_replaced_messages(settled_turn, request.content);
    -- Only a question that is asked again can have a mark.
    if request.metadata ? 'refused' or (
        request.content <> ''
        and (settled_turn.replaces_from is not null or settled_turn.attempt_id <> settled_turn.id)
    ) then
        perform $functions.mark_question(request.answer_id, coalesce(request.metadata ? 'refused', false));
    end if;

    cost := $functions.log_usage(
        request.user_id, settled_turn.conversation_id, request.answer_id, request.usage
    );
    perform $functions.settle_budget(settled_turn, cost);

    -- One call in fifty sweeps expired turns. The sweep comes last, because it changes app.user_id.
    if random() < 0.02 then
        perform $functions.sweep_turns();
    end if;
    return request.status;
end
$$;
