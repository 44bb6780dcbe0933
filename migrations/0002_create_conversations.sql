create table $tables.conversations (
    id              uuid        not null,
    user_id         uuid        not null,
    -- NULL until it is made from the first user message. A title that the user set is never replaced.
    title           text,
    model           text,
    tags            text[]      not null default '{}',
    context_window  integer,
    total_tokens    bigint      not null default 0,
    message_count   integer     not null default 0,
    last_message_at timestamptz,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    -- The sort key of lists. It is a column because Postgres treats coalesce as not leakproof: under
    -- row-level security an index on the expression sorts the rows, but is not used to find the start of a
    -- page.
    active_at       timestamptz generated always as (coalesce(last_message_at, created_at)) stored,
    constraint conversations_pkey primary key (id),
    -- Messages refer to both columns, so that a message always has the same user as its conversation.
    constraint conversations_id_user_id_key unique (id, user_id),
    constraint conversations_title_length check (char_length(title) between 1 and 200),
    constraint conversations_model_length check (char_length(model) between 1 and 200),
    constraint conversations_tags_count check (cardinality(tags) <= 20),
    -- The API allows 50 characters a tag. A check constraint cannot check each tag.
    constraint conversations_tags_length check (char_length(array_to_string(tags, '')) <= 1000),
    constraint conversations_tags_not_empty check (
        array_position(tags, null) is null and '' <> all (tags)
    ),
    constraint conversations_context_window_positive check (context_window > 0),
    constraint conversations_total_tokens_not_negative check (total_tokens >= 0),
    constraint conversations_message_count_not_negative check (message_count >= 0)
);

alter table $tables.conversations enable row level security;
alter table $tables.conversations force row level security;

create policy "Conversations can be read by their owner"
    on $tables.conversations for select to chat_app
    using (user_id = (select $functions.user_id()));

create policy "Conversations can be created by their owner"
    on $tables.conversations for insert to chat_app
    with check (user_id = (select $functions.user_id()));

create policy "Conversations can be changed by their owner"
    on $tables.conversations for update to chat_app
    using (user_id = (select $functions.user_id()))
    with check (user_id = (select $functions.user_id()));

create policy "Conversations can be deleted by their owner"
    on $tables.conversations for delete to chat_app
    using (user_id = (select $functions.user_id()));

-- Only for the owner of the tables, whose rights transfer_ownership has. So chat_app can see no more rows,
-- and its queries keep a single condition that an index can serve. USING has both users, because the row must
-- be visible before and after its user changes.
create policy "Conversations can be transferred to another user"
    on $tables.conversations for all to current_user
    using (user_id in ((select $functions.transfer_source_id()), (select $functions.user_id())))
    with check (
        user_id = (select $functions.user_id()) and (select $functions.transfer_source_id()) is not null
    );

grant select, insert, update, delete on $tables.conversations to chat_app;

-- A user's conversations, newest activity first, one page at a time.
create index conversations_by_activity on $tables.conversations (user_id, active_at desc, id desc);
