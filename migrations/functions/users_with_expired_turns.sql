-- version 1
-- For the sweep: users who do not come back, so that no request of their own settles their turns. Runs with
-- the rights of the owner, whose policy shows expired turns alone.
create or replace function $functions.users_with_expired_turns() returns setof uuid
language sql stable
security definer
set search_path = ''
as $$
    select distinct user_id from $tables.turns
    where status = 'running' and lease_expires_at < now()
    limit 20
$$;
