-- version 1
-- Estimates the tokens in a text from its bytes: one token for four bytes of UTF-8, as in shared/costs.py.
create or replace function $functions.estimate_tokens(text_bytes bigint) returns integer
language plpgsql immutable
set search_path = ''
as $$
begin
    return ceil(text_bytes / 4.0)::integer;
end
$$;
