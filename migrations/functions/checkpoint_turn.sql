-- version 2
-- Saves the text of a running answer and renews the lease. Returns 'running', 'cancel' if the user asked the
-- turn to stop, the final status if another process settled the turn, and NULL if this user has no such turn.
--
-- Request: user_id, answer_id, content (missing: unchanged), model (the `provider/model` that answers, saved with
-- the content), lease (interval).
create or replace function $functions.checkpoint_turn(p_request jsonb) returns text
language plpgsql
set search_path = ''
as $$
declare
    request   record;
    is_cancel boolean;
begin
    select * into request from jsonb_to_record(p_request) as r (
        user_id uuid, answer_id uuid, content text, model text, lease interval
    );
    perform set_config('app.user_id', request.user_id::text, true);
    update $tables.turns
    set lease_expires_at = now() + request.lease
    where id = request.answer_id and status = 'running'
    returning cancel_requested into is_cancel;
    if not found then
        return (select status from $tables.turns where id = request.answer_id);
    end if;
    if request.content is not null then
        update $tables.messages
        set content = request.content,
            metadata = metadata || jsonb_strip_nulls(jsonb_build_object('model', request.model))
        where id = request.answer_id;
    end if;
    return case when is_cancel then 'cancel' else 'running' end;
end
$$;
