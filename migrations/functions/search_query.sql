-- version 1
-- Parses a search; any text is valid. Words in quotes must follow each other, `-` excludes a word, and `or`
-- between two words accepts either. The last word also matches longer words that begin with it, because the
-- user may still be typing.
create or replace function $functions.search_query(p_text text) returns tsquery
language sql immutable parallel safe
set search_path = ''
as $$
    select case
        when p_text ~ '"\s*$' then query
        else regexp_replace(query::text, '(^|[^!])(''(?:''''|[^''])*'')$', '\1\2:*')::tsquery
    end
    from websearch_to_tsquery('pg_catalog.simple', $functions.search_text(p_text)) as query
$$;
