-- The role that serves requests. It owns no tables, is not a superuser and cannot bypass row-level security.
-- The deployment sets its password or IAM authentication, see migrations/roles.py.

do $$
begin
    if not exists (select from pg_roles where rolname = 'chat_app') then
        create role chat_app login;
        -- Set on the role, because RDS Proxy accepts no such settings from a client.
        alter role chat_app set statement_timeout = '15s';
        alter role chat_app set idle_in_transaction_session_timeout = '15s';
        alter role chat_app set jit = off;
        alter role chat_app set timezone = 'UTC';
    end if;
end
$$;

-- Only chat_app may use the schema of the functions, so only chat_app can call them.
grant usage on schema $functions to chat_app;
grant usage on schema $tables to chat_app;

-- The functions below are in a numbered file because policies call them: the functions must exist when the
-- policies are created, and they decide who can see a row.
--
-- nullif: when a transaction-local setting ends, Postgres resets it to '' and not to NULL. '' is not a uuid.

-- The user whose request this transaction serves. NULL if no user is set.
create function $functions.user_id() returns uuid
language plpgsql stable
set search_path = ''
as $$
begin
    return nullif(current_setting('app.user_id', true), '')::uuid;
end
$$;

-- The user whose rows transfer_ownership moves to app.user_id. NULL in every other transaction.
create function $functions.transfer_source_id() returns uuid
language plpgsql stable
set search_path = ''
as $$
begin
    return nullif(current_setting('app.transfer_source_id', true), '')::uuid;
end
$$;
