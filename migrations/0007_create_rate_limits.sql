-- The times of the recent requests of each subject and scope. With the times the limit is exact in every
-- window. Counters of fixed windows would allow twice the limit around the end of a window.
create table $tables.rate_limits (
    -- 'user:' and an id, or 'address:' and the hash of an address.
    subject    text          not null,
    scope      text          not null,
    hits       timestamptz[] not null default '{}',
    -- After this time the row has no effect and may be deleted.
    expires_at timestamptz   not null,
    constraint rate_limits_pkey primary key (subject, scope),
    constraint rate_limits_subject_length check (char_length(subject) <= 100),
    constraint rate_limits_scope_known check (scope in ('chat', 'write', 'sign_in'))
);

create index rate_limits_expired on $tables.rate_limits (expires_at);

-- The subject of this transaction: the user, or without a user the client's address. The function is in a
-- numbered file because the policies below call it.
create function $functions.rate_limit_subject() returns text
language plpgsql stable
set search_path = ''
as $$
begin
    return coalesce(
        'user:' || $functions.user_id(),
        'address:' || nullif(current_setting('app.address', true), '')
    );
end
$$;

alter table $tables.rate_limits enable row level security;
alter table $tables.rate_limits force row level security;

create policy "Hits can be read by their subject"
    on $tables.rate_limits for select to chat_app
    using (subject = (select $functions.rate_limit_subject()));

create policy "Hits can be inserted by their subject"
    on $tables.rate_limits for insert to chat_app
    with check (subject = (select $functions.rate_limit_subject()));

create policy "Hits can be updated by their subject"
    on $tables.rate_limits for update to chat_app
    using (subject = (select $functions.rate_limit_subject()))
    with check (subject = (select $functions.rate_limit_subject()));

-- For sweep_rate_limits, which runs with the owner's rights.
create policy "Expired hits can be deleted by the sweep"
    on $tables.rate_limits for all to current_user
    using (expires_at < now());

grant select, insert, update on $tables.rate_limits to chat_app;
