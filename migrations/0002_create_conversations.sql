create table public.conversations (
    id              uuid        not null,
    user_id         uuid        not null,
    -- NULL until the first user message gives one; a title the user gave is never replaced.
    title           text,
    model           text,
    context_window  integer,
    total_tokens    bigint      not null default 0,
    message_count   integer     not null default 0,
    last_message_at timestamptz,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    constraint conversations_pkey primary key (id),
    -- What messages refer to, so that a message can only belong to the conversation's own user.
    constraint conversations_id_user_id_key unique (id, user_id),
    constraint conversations_title_length check (char_length(title) between 1 and 200),
    constraint conversations_model_length check (char_length(model) between 1 and 200),
    constraint conversations_context_window_positive check (context_window > 0),
    constraint conversations_total_tokens_not_negative check (total_tokens >= 0),
    constraint conversations_message_count_not_negative check (message_count >= 0)
);

alter table public.conversations enable row level security;
alter table public.conversations force row level security;

create policy "Conversations can be read by their owner"
    on public.conversations for select to chat_app
    using (user_id = (select app.user_id()));

create policy "Conversations can be started for oneself"
    on public.conversations for insert to chat_app
    with check (user_id = (select app.user_id()));

create policy "Conversations can be changed by their owner"
    on public.conversations for update to chat_app
    using (user_id = (select app.user_id()))
    with check (user_id = (select app.user_id()));

create policy "Conversations can be deleted by their owner"
    on public.conversations for delete to chat_app
    using (user_id = (select app.user_id()));

grant select, insert, update, delete on public.conversations to chat_app;

-- Newest activity first, a page at a time.
create index conversations_by_activity
    on public.conversations (user_id, (coalesce(last_message_at, created_at)) desc, id desc);
