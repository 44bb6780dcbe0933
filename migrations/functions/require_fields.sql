-- version 1
-- Raises an error if a request lacks one of the fields. A missing limit would be NULL, and a comparison with
-- NULL is neither true nor false, so the limit would have no effect.
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
