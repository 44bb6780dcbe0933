-- version 1
-- Adds new messages to the counts of their conversations. The trigger runs once for a statement, not for each
-- row: a conversation is updated once, after all messages are written. So concurrent writers wait only for
-- the row of the conversation.
create or replace function $functions.count_new_messages() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    update $tables.conversations as c
    set message_count = c.message_count + added.messages,
        total_tokens = c.total_tokens + added.tokens,
        last_message_at = greatest(c.last_message_at, added.newest),
        updated_at = clock_timestamp(),
        title = coalesce(c.title, $functions.make_title(added.first_question))
    from (
        select conversation_id, count(*) as messages, sum(token_count) as tokens,
            max(created_at) as newest,
            (array_agg(content order by created_at, id) filter (where role = 'user'))[1] as first_question
        from inserted
        group by conversation_id
    ) as added
    where c.id = added.conversation_id;
    return null;
end
$$;

-- The trigger is in this file because it can only be created after its function.
create or replace trigger messages_count_new
    after insert on $tables.messages
    referencing new table as inserted
    for each statement execute function $functions.count_new_messages();
