-- version 1
-- Changes a query into a condition on the index entries of search_entries. Messages that meet the condition
-- may still not match the query: the index does not store the order of words, and excluded words are dropped.
-- NULL if the query has only excluded words.
create or replace function $functions.search_condition(p_user_id uuid, p_query tsquery) returns tsquery
language sql immutable parallel safe
set search_path = ''
as $$
    select format(''' %s''', p_user_id)::tsquery && regexp_replace(
        regexp_replace(querytree(p_query), '<(-|\d+)>', '&', 'g'),
        '''((?:''''|[^''])*)''',
        format('''%s\1''', $functions.search_bucket(p_user_id)),
        'g'
    )::tsquery
    where querytree(p_query) not in ('', 'T')
$$;
