-- version 1
-- The 90th percentile of the tokens in the last 20 answers of app.user_id. 500 for a new user.
create or replace function $functions.p90_answer_tokens() returns integer
language plpgsql stable
set search_path = ''
as $$
begin
    return (
        select coalesce(percentile_disc(0.9) within group (order by tokens_out), 500)::integer
        from (
            select tokens_out
            from $tables.usage_logs
            where user_id = (select $functions.user_id())
            order by created_at desc
            limit 20
        ) as latest
    );
end
$$;
