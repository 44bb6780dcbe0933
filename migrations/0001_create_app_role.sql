-- The role that serves requests, the schema for what is ours but no table, and who is asking.
--
-- chat_app owns nothing, is no superuser and cannot bypass row-level security. It gets a way to log
-- in (a password, or IAM authentication) from whoever deploys; none is made here.

do $$
begin
    if not exists (select from pg_roles where rolname = 'chat_app') then
        create role chat_app login;
        -- Bounds that hold whoever connects, and however: RDS Proxy takes none from the client.
        alter role chat_app set statement_timeout = '15s';
        alter role chat_app set idle_in_transaction_session_timeout = '15s';
        alter role chat_app set jit = off;
        alter role chat_app set timezone = 'UTC';
    end if;
end
$$;

-- Only chat_app may look into this schema, and so call what is in it.
create schema app;
grant usage on schema app to chat_app;
grant usage on schema public to chat_app;

-- Once a transaction-local setting has been used, it reads as '' and not as NULL on that
-- connection, so the cast needs the nullif.
create function app.user_id() returns uuid
language sql stable
set search_path = ''
as $$ select nullif(current_setting('app.user_id', true), '')::uuid $$;
