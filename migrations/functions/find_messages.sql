-- version 1
-- The newest messages of app.user_id whose index entries match a query. The WHERE clause repeats the
-- condition of the policy "Messages can be found by a search of their owner", because the policy does not
-- apply to a superuser or an owner with BYPASSRLS. If it applies, Postgres recognises that the conditions are
-- equal.
create or replace function $functions.find_messages(p_query tsquery, p_limit integer) returns setof uuid
language plpgsql
security definer
set search_path = ''
-- Enough memory for the positions of 100,000 messages. If they do not fit, Postgres parses messages again.
set work_mem = '32MB'
as $$
begin
    perform set_config(
        'app.search_condition', $functions.search_condition($functions.user_id(), p_query)::text, true
    );
    return query
        select id from $tables.messages
        where user_id = (select $functions.user_id())
            and status <> 'streaming'
            and $functions.search_entries(user_id, content) @@ $functions.current_search_condition()
        order by created_at desc, id desc
        limit p_limit;
    perform set_config('app.search_condition', '', true);
end
$$;
