create table public.messages (
    id              uuid        not null,
    conversation_id uuid        not null,
    user_id         uuid        not null,
    role            text        not null,
    content         text        not null,
    status          text        not null default 'complete',
    token_count     integer     not null default 0,
    metadata        jsonb       not null default '{}',
    -- The clock, not the transaction's start: a question stands before its answer.
    created_at      timestamptz not null default clock_timestamp(),
    constraint messages_pkey primary key (id),
    -- Foreign keys ignore row-level security; with the user in the key, a message cannot be put into
    -- another user's conversation all the same.
    constraint messages_conversation_fkey foreign key (conversation_id, user_id)
        references public.conversations (id, user_id) on update cascade on delete cascade,
    constraint messages_role_known check (role in ('system', 'user', 'assistant')),
    constraint messages_status_known check (
        status in ('streaming', 'complete', 'cancelled', 'interrupted', 'error')
    ),
    constraint messages_only_answers_stream check (role = 'assistant' or status = 'complete'),
    -- A question is 32,000 characters at most; an answer of 128,000 tokens fits twice.
    constraint messages_content_length check (char_length(content) <= 1000000),
    constraint messages_token_count_not_negative check (token_count >= 0),
    constraint messages_metadata_is_an_object check (jsonb_typeof(metadata) = 'object'),
    constraint messages_metadata_size check (pg_column_size(metadata) <= 16384)
);

alter table public.messages enable row level security;
alter table public.messages force row level security;

create policy "Messages can be read by their owner"
    on public.messages for select to chat_app
    using (user_id = (select app.user_id()));

create policy "Messages can be written by their owner"
    on public.messages for insert to chat_app
    with check (user_id = (select app.user_id()));

create policy "Messages can be changed by their owner"
    on public.messages for update to chat_app
    using (user_id = (select app.user_id()))
    with check (user_id = (select app.user_id()));

create policy "Messages can be deleted by their owner"
    on public.messages for delete to chat_app
    using (user_id = (select app.user_id()));

grant select, insert, update, delete on public.messages to chat_app;

-- Both directions of a conversation: pages forward, and the newest for the model's history.
create index messages_by_conversation on public.messages (conversation_id, created_at, id);

-- A title out of a message: markdown marks and white space gone, cut at a word, 80 characters at most.
-- Only the beginning is looked at: a title needs no more, and a long message costs no more.
create function app.title_from(content text) returns text
language plpgsql immutable
set search_path = ''
as $$
declare
    title text := left(content, 1000);
begin
    title := regexp_replace(title, '!?\[([^]]*)\]\([^)]*\)', '\1', 'g');        -- [text](link)
    title := regexp_replace(title, '```[a-zA-Z0-9+-]*', ' ', 'g');              -- ```python
    title := regexp_replace(title, '(^|\n)\s*((#+|>+|[-*+]|\d+[.)])\s+)+', '\1', 'g');
    title := regexp_replace(title, '[*`~]+', '', 'g');
    title := regexp_replace(title, '(^|\W)_+|_+(\W|$)', '\1\2', 'g');           -- _so_, but not so_so
    title := regexp_replace(title, '[[:cntrl:]]', ' ', 'g');
    title := btrim(regexp_replace(title, '\s+', ' ', 'g'));
    if char_length(title) > 80 then
        title := left(title, 80);
        -- 79 and an ellipsis; languages without spaces are cut where they are.
        title := regexp_replace(left(title, 79 + (substr(title, 80, 1) = ' ')::int), '\s+\S*$', '');
        title := rtrim(left(title, 79), ' ,;:.-') || '…';
    end if;
    return nullif(title, '');
end
$$;

-- A conversation's figures follow its messages. Per statement, not per row: one update however many
-- messages a statement touches, and always after the messages, so that two writers wait for each
-- other on the conversation and nowhere else.
create function app.count_new_messages() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    update public.conversations as c
    set message_count = c.message_count + added.messages,
        total_tokens = c.total_tokens + added.tokens,
        last_message_at = greatest(c.last_message_at, added.newest),
        updated_at = clock_timestamp(),
        title = coalesce(c.title, app.title_from(added.first_question))
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

create function app.count_changed_tokens() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    update public.conversations as c
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

create function app.count_deleted_messages() returns trigger
language plpgsql
set search_path = ''
as $$
begin
    update public.conversations as c
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

create trigger messages_count_new
    after insert on public.messages
    referencing new table as inserted
    for each statement execute function app.count_new_messages();

create trigger messages_count_changed_tokens
    after update on public.messages
    referencing old table as before new table as after
    for each statement execute function app.count_changed_tokens();

create trigger messages_count_deleted
    after delete on public.messages
    referencing old table as deleted
    for each statement execute function app.count_deleted_messages();
