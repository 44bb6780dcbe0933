-- version 1
-- Subtracts deleted messages from the counts of their conversations. See count_new_messages.
create or replace function $functions.count_deleted_messages() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    update $tables.conversations as c
    set message_count = c.message_count - removed.messages,
        total_tokens = c.total_tokens - removed.tokens,
        updated_at = clock_timestamp()
    from (
        select conversation_id, count(*) as messages, sum(token_count) as tokens
        from deleted
        group by conversation_id
    ) as removed
    where c.id = removed.conversation_id;
    return null;
end
$$;

create or replace trigger messages_count_deleted
    after delete on $tables.messages
    referencing old table as deleted
    for each statement execute function $functions.count_deleted_messages();
