-- version 1
-- Raises an error if a request lacks a field. A missing field is NULL, and a limit that is NULL would limit
-- nothing: `3 < NULL` is neither true nor false.
create or replace function $functions.require_fields(p_request jsonb, variadic p_names text[]) returns void
language plpgsql immutable
set search_path = ''
as $$
begin
    if not p_request ?& p_names then
        raise exception 'the request lacks one of the fields %', p_names using errcode = '22023';
    end if;
end
$$;
