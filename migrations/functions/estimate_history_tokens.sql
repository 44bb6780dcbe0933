-- version 2
-- Estimates the tokens in messages.
--
-- p_messages: an array of {"role", "content"}.
create or replace function $functions.estimate_history_tokens(p_messages jsonb) returns integer
language plpgsql immutable
set search_path = ''
as $$
begin
    return (
        select coalesce(sum($functions.estimate_tokens(octet_length(message ->> 'content'))), 0)
        from jsonb_array_elements(p_messages) as message
    );
end
$$;
