-- version 1
-- Sets app.user_id for row-level security in this transaction, and settles this user's turns whose lease has
-- expired.
--
-- Request: user_id. Other fields are ignored, so that other functions can pass on their whole request.
create or replace function $functions.begin_request(p_request jsonb) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform set_config('app.user_id', p_request ->> 'user_id', true);
    perform $functions.interrupt_expired_turns();
end
$$;
