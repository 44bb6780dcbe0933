-- version 1
-- Whether the user has asked the running answer of one of these conversations to stop, and the process that
-- writes it has not settled it yet.
create or replace function $functions.has_stopping_turn(p_conversation_ids uuid[]) returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
    return exists (
        select from $tables.turns
        where conversation_id = any (p_conversation_ids) and status = 'running' and cancel_requested
            and lease_expires_at > now()
    );
end
$$;
