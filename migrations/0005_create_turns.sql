-- The state of each turn. The table ensures that only the process with the lease writes the answer, that an
-- idempotency key starts one turn, and that a turn is settled once. A row stays when its conversation is
-- deleted, so that the cost of a running answer is still logged.
create table $tables.turns (
    -- The id of the answer's message.
    id               uuid           not null,
    user_id          uuid           not null,
    -- The id of the last call that started this turn. If the reply is lost and the call is repeated, the call
    -- finds its turn by this id.
    attempt_id       uuid           not null,
    -- NULL for a stateless turn: only its cost is stored.
    conversation_id  uuid,
    status           text           not null default 'running',
    -- After this time no process writes the answer, even if the status is still 'running'.
    lease_expires_at timestamptz    not null,
    cancel_requested boolean        not null default false,
    -- The client's key for this turn, and a hash of the request that used the key.
    idempotency_key  text,
    request_hash     bytea,
    -- For an estimate of the cost if the process dies.
    model            text           not null,
    prompt_tokens    integer        not null,
    usd_per_input    numeric        not null,
    usd_per_output   numeric        not null,
    priced           boolean        not null,
    -- When the answer has text, it replaces the messages from this time on.
    replaces_from    timestamptz,
    -- Reserved from the day's budget until the cost is known. NULL where there is no budget.
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

alter table $tables.turns enable row level security;
alter table $tables.turns force row level security;

create policy "Turns can be read by their owner"
    on $tables.turns for select to chat_app
    using (user_id = (select $functions.user_id()));

create policy "Turns can be started by their owner"
    on $tables.turns for insert to chat_app
    with check (user_id = (select $functions.user_id()));

create policy "Turns can be settled by their owner"
    on $tables.turns for update to chat_app
    using (user_id = (select $functions.user_id()))
    with check (user_id = (select $functions.user_id()));

-- See the same policy of conversations.
create policy "Turns can be transferred to another user"
    on $tables.turns for all to current_user
    using (user_id in ((select $functions.transfer_source_id()), (select $functions.user_id())))
    with check (
        user_id = (select $functions.user_id()) and (select $functions.transfer_source_id()) is not null
    );

-- For users_with_expired_turns, which runs with the owner's rights.
create policy "Expired turns can be found by the sweep"
    on $tables.turns for select to current_user
    using (status = 'running' and lease_expires_at < now());

grant select, insert, update on $tables.turns to chat_app;

-- One running answer in a conversation, and one turn for a key.
create unique index turns_one_running_in_a_conversation
    on $tables.turns (conversation_id) where status = 'running';
create unique index turns_one_for_a_key
    on $tables.turns (user_id, idempotency_key) where idempotency_key is not null;
create index turns_by_attempt on $tables.turns (attempt_id);
create index turns_running_by_user
    on $tables.turns (user_id, lease_expires_at) where status = 'running';
create index turns_running_by_lease
    on $tables.turns (lease_expires_at) where status = 'running';
