-- version 1
-- Updates the token counts of conversations when token counts of messages change. See count_new_messages.
create or replace function $functions.count_changed_tokens() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    update $tables.conversations as c
    set total_tokens = c.total_tokens + changed.tokens,
        updated_at = clock_timestamp()
    from (
        select after.conversation_id, sum(after.token_count - before.token_count) as tokens
        from after join before using (id)
        group by after.conversation_id
        having sum(after.token_count - before.token_count) <> 0
    ) as changed
    where c.id = changed.conversation_id;
    return null;
end
$$;

create or replace trigger messages_count_changed_tokens
    after update on $tables.messages
    referencing old table as before new table as after
    for each statement execute function $functions.count_changed_tokens();
