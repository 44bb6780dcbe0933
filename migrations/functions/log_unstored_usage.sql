-- version 1
-- Logs the cost of an answer that was sent while the database was unavailable, so that no turn was stored.
--
-- Request: user_id, answer_id, usage (see log_usage).
create or replace function $functions.log_unstored_usage(p_request jsonb) returns void
language plpgsql
set search_path = ''
as $$
declare
    request record;
    cost    numeric;
begin
    perform $functions.require_fields(p_request, 'usage');
    select * into request from jsonb_to_record(p_request) as r (user_id uuid, answer_id uuid, usage jsonb);
    perform set_config('app.user_id', request.user_id::text, true);
    cost := $functions.log_usage(request.user_id, null, request.answer_id, request.usage);
    update $tables.budgets
    set spent_usd = spent_usd + cost
    where user_id = request.user_id and day = $functions.today();
end
$$;
