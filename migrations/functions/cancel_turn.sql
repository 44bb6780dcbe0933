-- version 1
-- Asks a running turn to stop; another process may run it. Returns 'running' if the turn will stop, its final
-- status if it has ended, and NULL if this user has no such turn.
--
-- Request: user_id, answer_id.
create or replace function $functions.cancel_turn(p_request jsonb) returns text
language plpgsql
set search_path = ''
as $$
declare
    request record;
begin
    select * into request from jsonb_to_record(p_request) as r (answer_id uuid);
    perform $functions.begin_request(p_request);
    update $tables.turns set cancel_requested = true
    where id = request.answer_id and status = 'running';
    return (select status from $tables.turns where id = request.answer_id);
end
$$;
