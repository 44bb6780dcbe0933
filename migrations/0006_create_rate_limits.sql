-- Who asked how often lately. A row for each subject and scope, with the moments that count: exact in
-- any window, also at its edge, where counters of fixed windows let twice the limit through.
create table public.rate_limits (
    -- 'user:' and an id, or 'address:' and a hash.
    subject    text          not null,
    scope      text          not null,
    hits       timestamptz[] not null default '{}',
    -- From here on the row says nothing and may go.
    expires_at timestamptz   not null,
    constraint rate_limits_pkey primary key (subject, scope),
    constraint rate_limits_subject_length check (char_length(subject) <= 100),
    constraint rate_limits_scope_known check (scope in ('chat', 'write', 'sign_in'))
);

create index rate_limits_expired on public.rate_limits (expires_at);

-- Whoever is counted: the user, or where there is none, the client's address.
create function app.subject() returns text
language sql stable
set search_path = ''
as $$
    select coalesce(
        'user:' || app.user_id(),
        'address:' || nullif(current_setting('app.address', true), '')
    )
$$;

alter table public.rate_limits enable row level security;
alter table public.rate_limits force row level security;

create policy "Hits can be read by whoever made them"
    on public.rate_limits for select to chat_app
    using (subject = (select app.subject()));

create policy "Hits can be counted for oneself"
    on public.rate_limits for insert to chat_app
    with check (subject = (select app.subject()));

create policy "Hits can be counted on by whoever made them"
    on public.rate_limits for update to chat_app
    using (subject = (select app.subject()))
    with check (subject = (select app.subject()));

create policy "Counts that say nothing any more can be swept"
    on public.rate_limits for all to current_user
    using (expires_at < now());

grant select, insert, update on public.rate_limits to chat_app;

-- With its owner's rights, and its owner sees expired rows only. Rows that others
-- are using are passed over, so that nobody waits for a sweep.
create function app.sweep_rate_limits() returns void
language sql
security definer
set search_path = ''
as $$
    delete from public.rate_limits
    where (subject, scope) in (
        select subject, scope
        from public.rate_limits
        where expires_at < now()
        order by expires_at
        limit 100
        for update skip locked
    )
$$;

-- Counts a hit if there is room for it. Answers {"allowed", "limit", "remaining", "reset", "window"};
-- reset is the number of seconds until there is room again, or more of it.
create function app.take_rate_limit(p_scope text, p_limit integer, p_window_seconds integer) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    counted_subject text := app.subject();
    long interval := make_interval(secs => p_window_seconds);
    counted timestamptz[];
    moment timestamptz;
    allowed boolean;
begin
    insert into public.rate_limits (subject, scope, expires_at)
    values (counted_subject, p_scope, now() + long)
    on conflict (subject, scope) do nothing;

    select hits into counted
    from public.rate_limits
    where subject = counted_subject and scope = p_scope
    for update;

    -- Read after the lock was given: of those who waited for it, the last is the latest.
    moment := clock_timestamp();
    counted := array(select hit from unnest(counted) as hit where hit > moment - long order by hit);
    allowed := cardinality(counted) < p_limit;
    if allowed then
        counted := counted || moment;
        update public.rate_limits
        set hits = counted, expires_at = moment + long
        where subject = counted_subject and scope = p_scope;
    end if;

    -- Now and then, so that what is left behind does not grow.
    if random() < 0.01 then
        perform app.sweep_rate_limits();
    end if;

    return jsonb_build_object(
        'allowed', allowed,
        'limit', p_limit,
        'remaining', greatest(0, p_limit - cardinality(counted)),
        'reset', greatest(1, ceil(extract(epoch from counted[1] + long - moment))),
        'window', p_window_seconds
    );
end
$$;
