-- The tokens and the cost of each model call. A row is written once. It stays when its conversation is
-- deleted, because the cost was paid.
create table $tables.usage_logs (
    id                 uuid           not null,
    user_id            uuid           not null,
    conversation_id    uuid,
    message_id         uuid           not null,
    provider           text           not null,
    model              text           not null,
    -- tokens_in includes cached tokens, tokens_out includes reasoning tokens.
    tokens_in          integer        not null,
    tokens_out         integer        not null,
    tokens_cache_read  integer        not null default 0,
    tokens_cache_write integer        not null default 0,
    tokens_reasoning   integer        not null default 0,
    cost_usd           numeric(18,10) not null,
    -- false: the model is not in the price table, and the fallback price was used.
    priced             boolean        not null,
    -- true: the provider did not report all token counts, so they were estimated from the text.
    estimated          boolean        not null default false,
    status             text           not null,
    ttft_ms            integer,
    duration_ms        integer        not null,
    created_at         timestamptz    not null default now(),
    constraint usage_logs_pkey primary key (id),
    constraint usage_logs_status_known check (status in ('complete', 'cancelled', 'interrupted', 'error')),
    constraint usage_logs_tokens_not_negative check (
        least(tokens_in, tokens_out, tokens_cache_read, tokens_cache_write, tokens_reasoning) >= 0
    ),
    constraint usage_logs_cost_not_negative check (cost_usd >= 0),
    constraint usage_logs_name_lengths check (char_length(provider) <= 100 and char_length(model) <= 200)
);

alter table $tables.usage_logs enable row level security;
alter table $tables.usage_logs force row level security;

create policy "Usage can be read by its owner"
    on $tables.usage_logs for select to chat_app
    using (user_id = (select $functions.user_id()));

create policy "Usage can be logged by its owner"
    on $tables.usage_logs for insert to chat_app
    with check (user_id = (select $functions.user_id()));

-- See the same policy of conversations.
create policy "Usage can be transferred to another user"
    on $tables.usage_logs for all to current_user
    using (user_id in ((select $functions.transfer_source_id()), (select $functions.user_id())))
    with check (
        user_id = (select $functions.user_id()) and (select $functions.transfer_source_id()) is not null
    );

-- No update and no delete: logged costs never change.
grant select, insert on $tables.usage_logs to chat_app;

create index usage_logs_by_user on $tables.usage_logs (user_id, created_at);
create index usage_logs_by_message on $tables.usage_logs (message_id);
