-- The role that serves requests. It owns nothing, is no superuser and cannot bypass row-level security.
-- No login is made here: the deployment gives the role a password, or IAM authentication.

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

-- chat_app alone may use the schema of the functions, so chat_app alone can call them.
grant usage on schema $functions to chat_app;
grant usage on schema $tables to chat_app;

-- The functions below stand in a numbered file because policies refer to them: a policy needs its function
-- when it is created, and a change of such a function changes who may see a row.
--
-- After a transaction that set a transaction-local setting, the connection reads the setting as '' and not
-- as NULL. The cast needs the nullif for that.

-- The user whose request this transaction serves. NULL if there is none.
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
