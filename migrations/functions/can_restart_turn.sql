-- version 1
-- Whether a turn with a used idempotency key may run again: it failed, its answer has no text, and the
-- conversation has no later message.
create or replace function $functions.can_restart_turn(p_turn $tables.turns) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
    return p_turn.status in ('error', 'interrupted') and exists (
        select from $tables.messages as answer
        where answer.id = p_turn.id and answer.content = ''
            and not exists (
                select from $tables.messages as later
                where later.conversation_id = answer.conversation_id
                    and (later.created_at, later.id) > (answer.created_at, answer.id)
            )
    );
end
$$;
