-- version 1
-- Deletes the messages that a regenerated answer replaces. Deletes nothing if the new answer has no text, so
-- that a failed regeneration keeps the old answer.
create or replace function $functions.delete_replaced_messages(
    p_turn $tables.turns, p_content text
) returns void
language plpgsql
set search_path = ''
as $$
begin
    if p_turn.replaces_from is null or coalesce(p_content, '') = '' then
        return;
    end if;
    delete from $tables.messages
    where conversation_id = p_turn.conversation_id and id <> p_turn.id
        and created_at >= p_turn.replaces_from
        and created_at < (
            select answer.created_at from $tables.messages as answer where answer.id = p_turn.id
        );
end
$$;
