-- version 1
-- Deletes at most 100 expired rows. Runs with the rights of the owner, whose policy allows only expired rows.
-- Skips locked rows, so that no request waits for a sweep.
create or replace function $functions.sweep_rate_limits() returns void
language plpgsql
security definer
set search_path = ''
as $$
begin
    delete from $tables.rate_limits
    where (subject, scope) in (
        select subject, scope
        from $tables.rate_limits
        where expires_at < now()
        order by expires_at
        limit 100
        for update skip locked
    );
end
$$;
