-- version 1
-- Settles expired turns of any user. Each user in a block of its own: an error in the rows of one user must
-- fail neither the sweep of the others nor the request that runs it.
create or replace function $functions.sweep_turns() returns void
language plpgsql
set search_path = ''
as $$
declare
    swept_user_id uuid;
begin
    for swept_user_id in select * from $functions.users_with_expired_turns() loop
        begin
            perform $functions.begin_request(jsonb_build_object('user_id', swept_user_id));
        exception when others then
            raise warning 'a turn could not be swept: %', sqlstate;
        end;
    end loop;
end
$$;
