-- version 1
-- Settles the turns of app.user_id whose lease has expired. Skips turns that another transaction is settling.
create or replace function $functions.interrupt_expired_turns() returns void
language plpgsql
set search_path = ''
as $$
declare
    expired_turn $tables.turns;
begin
    for expired_turn in
        select * from $tables.turns
        where user_id = (select $functions.user_id()) and status = 'running' and lease_expires_at < now()
        order by id
        for update skip locked
    loop
        perform $functions.interrupt_turn(expired_turn);
    end loop;
end
$$;
