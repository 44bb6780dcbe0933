-- version 1
-- Locks a conversation, so that one turn at a time starts in it, and returns its id. If this user has no
-- p_conversation_id, locks p_other_id. Returns NULL if this user has neither.
create or replace function $functions.lock_conversation(
    p_conversation_id uuid, p_other_id uuid
) returns uuid
language plpgsql
set search_path = ''
as $$
begin
    perform from $tables.conversations where id = p_conversation_id for no key update;
    if found then
        return p_conversation_id;
    end if;
    if p_other_id <> p_conversation_id then
        perform from $tables.conversations where id = p_other_id for no key update;
        if found then
            return p_other_id;
        end if;
    end if;
    return null;
end
$$;
