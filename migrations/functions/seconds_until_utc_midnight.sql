-- version 1
create or replace function $functions.seconds_until_utc_midnight() returns integer
language plpgsql stable
set search_path = ''
as $$
begin
    return ceil(extract(epoch from $functions.today() + 1 - now() at time zone 'UTC'))::integer;
end
$$;
