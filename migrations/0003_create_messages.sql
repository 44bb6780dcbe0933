create table $tables.messages (
    id              uuid        not null,
    conversation_id uuid        not null,
    user_id         uuid        not null,
    role            text        not null,
    content         text        not null,
    status          text        not null default 'complete',
    token_count     integer     not null default 0,
    metadata        jsonb       not null default '{}',
    -- The time of the insert, not of the start of the transaction: messages are ordered by this time.
    created_at      timestamptz not null default clock_timestamp(),
    constraint messages_pkey primary key (id),
    -- A foreign key ignores row-level security. The user is part of the key, so that a message cannot be
    -- stored in another user's conversation.
    constraint messages_conversation_fkey foreign key (conversation_id, user_id)
        references $tables.conversations (id, user_id) on update cascade on delete cascade,
    constraint messages_role_known check (role in ('system', 'user', 'assistant')),
    constraint messages_status_known check (
        status in ('streaming', 'complete', 'cancelled', 'interrupted', 'error')
    ),
    constraint messages_only_answers_stream check (role = 'assistant' or status = 'complete'),
    -- A question has at most 32,000 characters. An answer of 128,000 tokens needs half of this limit.
    constraint messages_content_length check (char_length(content) <= 1000000),
    constraint messages_token_count_not_negative check (token_count >= 0),
    constraint messages_metadata_is_an_object check (jsonb_typeof(metadata) = 'object'),
    -- The API takes 8 KB of JSON text. Small numbers take up to six times as much as jsonb.
    constraint messages_metadata_size check (pg_column_size(metadata) <= 65536)
);

alter table $tables.messages enable row level security;
alter table $tables.messages force row level security;

create policy "Messages can be read by their owner"
    on $tables.messages for select to chat_app
    using (user_id = (select $functions.user_id()));

create policy "Messages can be written by their owner"
    on $tables.messages for insert to chat_app
    with check (user_id = (select $functions.user_id()));

create policy "Messages can be changed by their owner"
    on $tables.messages for update to chat_app
    using (user_id = (select $functions.user_id()))
    with check (user_id = (select $functions.user_id()));

create policy "Messages can be deleted by their owner"
    on $tables.messages for delete to chat_app
    using (user_id = (select $functions.user_id()));

grant select, insert, update, delete on $tables.messages to chat_app;

-- Serves both directions of a conversation: pages forward, and the newest messages for the model.
create index messages_by_conversation on $tables.messages (conversation_id, created_at, id);
