-- version 2
-- Settles expired turns of all users. Each user has a separate block, so that an error in one user's rows
-- stops neither the sweep for other users nor the request that runs the sweep.
create or replace function $functions.sweep_turns() returns void
language plpgsql
set search_path = ''
as $$
declare
    swept_user_id uuid;
begin
    -- The sweep locks budgets of several users, so it cannot keep the order of lock_budget. It gives up before
    -- a request that waits for it does: Postgres looks for deadlocks after one second.
    perform set_config('lock_timeout', '100ms', true);
    for swept_user_id in select * from $functions.users_with_expired_turns() loop
        begin
            perform $functions.begin_request(jsonb_build_object('user_id', swept_user_id));
        exception when others then
            raise warning 'a turn could not be swept: %', sqlstate;
        end;
    end loop;
end
$$;
