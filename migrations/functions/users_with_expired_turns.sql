-- version 1
-- Users with expired turns, for the sweep: a user who sends no further request does not settle them. Runs
-- with the rights of the owner, whose policy shows only expired turns.
create or replace function $functions.users_with_expired_turns() returns setof uuid
language sql stable
security definer
set search_path = ''
as $$
    select distinct user_id from $tables.turns
    where status = 'running' and lease_expires_at < now()
    limit 20
$$;
