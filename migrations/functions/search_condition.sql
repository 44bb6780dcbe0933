-- version 1
-- The entries of search_entries that a message must have for a query to match it. A message may have them and
-- not match, because the index does not know which words are neighbours, and excluded words are not looked
-- up. NULL for a query that only excludes.
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
