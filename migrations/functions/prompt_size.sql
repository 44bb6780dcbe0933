-- version 1
-- The largest number of tokens of messages in a prompt: a token has at least one byte, and the marks of a
-- message's role have at most 16 tokens. As max_prompt_tokens in shared/costs.py.
--
-- p_messages: an array of {"role", "content"}.
create or replace function $functions.prompt_size(p_messages jsonb) returns integer
language plpgsql immutable
set search_path = ''
as $$
begin
    return (
        select coalesce(sum(octet_length(message ->> 'content') + 16), 0)
        from jsonb_array_elements(p_messages) as message
    );
end
$$;
