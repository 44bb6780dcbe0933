-- A turn in progress and how it ended: who may still write the answer, that it runs once for a key,
-- that it is settled once, and what it may cost meanwhile. A row outlives its conversation, so that a
-- running answer is paid for all the same.
create table public.turns (
    -- The answer's message id.
    id               uuid           not null,
    user_id          uuid           not null,
    -- The call that began it last: a call that is made again, as its reply was lost, knows itself.
    attempt_id       uuid           not null,
    -- NULL where nothing is stored but the cost.
    conversation_id  uuid,
    status           text           not null default 'running',
    -- After this moment nobody is writing any more, whatever the status says.
    lease_expires_at timestamptz    not null,
    cancel_requested boolean        not null default false,
    -- The client's name for this turn, and a hash of what it asked under it.
    idempotency_key  text,
    request_hash     bytea,
    -- For an estimate of the cost, should the one who writes the answer die.
    model            text           not null,
    prompt_tokens    integer        not null,
    usd_per_input    numeric        not null,
    usd_per_output   numeric        not null,
    priced           boolean        not null,
    -- The answer is to take the place of what stands from this moment on, once there is one.
    replaces_from    timestamptz,
    -- Held back from the day's budget until the cost is known; NULL where there is no budget.
    reserved_usd     numeric(18,10),
    created_at       timestamptz    not null default now(),
    settled_at       timestamptz,
    constraint turns_pkey primary key (id),
    constraint turns_status_known check (
        status in ('running', 'complete', 'cancelled', 'interrupted', 'error')
    ),
    constraint turns_settled_when_not_running check ((status = 'running') = (settled_at is null)),
    constraint turns_idempotency_key_length check (char_length(idempotency_key) between 1 and 255),
    constraint turns_key_with_hash check ((idempotency_key is null) = (request_hash is null)),
    constraint turns_numbers_not_negative check (
        least(prompt_tokens, usd_per_input, usd_per_output, reserved_usd) >= 0
    )
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

-- One running answer in a conversation, and one turn for a key, whatever the number of processes.
create unique index turns_one_running_in_a_conversation
    on public.turns (conversation_id) where status = 'running';
create unique index turns_one_for_a_key
    on public.turns (user_id, idempotency_key) where idempotency_key is not null;
create index turns_running_by_user
    on public.turns (user_id, lease_expires_at) where status = 'running';
create index turns_running_by_lease
    on public.turns (lease_expires_at) where status = 'running';

-- What a user spent on a day (UTC), and what running turns have held back. Made when first needed.
create table public.budgets (
    user_id      uuid           not null,
    day          date           not null,
    spent_usd    numeric(18,10) not null,
    reserved_usd numeric(18,10) not null default 0,
    constraint budgets_pkey primary key (user_id, day),
    constraint budgets_not_negative check (least(spent_usd, reserved_usd) >= 0)
);

alter table public.budgets enable row level security;
alter table public.budgets force row level security;

create policy "Budgets can be read by their owner"
    on public.budgets for select to chat_app
    using (user_id = (select app.user_id()));

create policy "Budgets can be opened for oneself"
    on public.budgets for insert to chat_app
    with check (user_id = (select app.user_id()));

create policy "Budgets can be drawn on by their owner"
    on public.budgets for update to chat_app
    using (user_id = (select app.user_id()))
    with check (user_id = (select app.user_id()));

grant select, insert, update on public.budgets to chat_app;

create function app.today() returns date
language sql stable
set search_path = ''
as $$ select (now() at time zone 'UTC')::date $$;
