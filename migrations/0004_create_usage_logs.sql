-- What each answer cost. Written once, never changed, and kept when the conversation goes:
-- money is not forgotten.
create table public.usage_logs (
    id                 uuid           not null,
    user_id            uuid           not null,
    conversation_id    uuid,
    message_id         uuid           not null,
    provider           text           not null,
    model              text           not null,
    -- The whole prompt, cached parts included; the whole answer, reasoning included.
    tokens_in          integer        not null,
    tokens_out         integer        not null,
    tokens_cache_read  integer        not null default 0,
    tokens_cache_write integer        not null default 0,
    tokens_reasoning   integer        not null default 0,
    cost_usd           numeric(18,10) not null,
    -- false: the model is not in the price table, and the fallback price was taken.
    priced             boolean        not null,
    -- true: the provider did not say (all of) the tokens, and the text was measured instead.
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

alter table public.usage_logs enable row level security;
alter table public.usage_logs force row level security;

create policy "Usage can be read by its owner"
    on public.usage_logs for select to chat_app
    using (user_id = (select app.user_id()));

create policy "Usage can be written down for oneself"
    on public.usage_logs for insert to chat_app
    with check (user_id = (select app.user_id()));

-- No update and no delete: a bill does not change.
grant select, insert on public.usage_logs to chat_app;

create index usage_logs_by_user on public.usage_logs (user_id, created_at);
create index usage_logs_by_message on public.usage_logs (message_id);
