-- version 1
-- A search as a query: any text is one. Quotes hold words together, `-` excludes, `or` is an alternative. The
-- last word also matches as the beginning of a word, because the user may still be typing it.
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
