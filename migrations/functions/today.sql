-- version 1
-- The current day of budgets, in UTC.
create or replace function $functions.today() returns date
language plpgsql stable
set search_path = ''
as $$
begin
    return (now() at time zone 'UTC')::date;
end
$$;
