-- A turn in progress and how it ended: who may still write the answer, and that it is settled once.
-- A row stays when its conversation is deleted, so that a running answer is paid for all the same.
create table public.turns (
    -- The answer's message id.
    id               uuid        not null,
    user_id          uuid        not null,
    conversation_id  uuid        not null,
    status           text        not null default 'running',
    -- After this moment nobody is writing any more, whatever the status says.
    lease_expires_at timestamptz not null,
    created_at       timestamptz not null default now(),
    settled_at       timestamptz,
    constraint turns_pkey primary key (id),
    constraint turns_status_known check (
        status in ('running', 'complete', 'cancelled', 'interrupted', 'error')
    ),
    constraint turns_settled_when_not_running check ((status = 'running') = (settled_at is null))
);

alter table public.turns enable row level security;
alter table public.turns force row level security;

create policy "Turns can be read by their owner"
    on public.turns for select to chat_app
    using (user_id = (select app.user_id()));

create policy "Turns can be begun for oneself"
    on public.turns for insert to chat_app
    with check (user_id = (select app.user_id()));

create policy "Turns can be settled by their owner"
    on public.turns for update to chat_app
    using (user_id = (select app.user_id()))
    with check (user_id = (select app.user_id()));

grant select, insert, update on public.turns to chat_app;

-- One running answer in a conversation, whatever the number of processes.
create unique index turns_one_running_in_a_conversation
    on public.turns (conversation_id) where status = 'running';
