-- The two ends of a turn, each one statement and so one round trip and one transaction. They run with
-- the caller's rights: row-level security applies to every statement in them.

-- An answer whose writer is gone keeps its text and says so. Its cost was written down by nobody, so
-- the text is measured: four bytes of UTF-8 a token.
create function app.interrupt_expired_turn(p_conversation_id uuid) returns void
language plpgsql
set search_path = ''
as $$
declare
    expired uuid;
begin
    update public.turns
    set status = 'interrupted', settled_at = now()
    where conversation_id = p_conversation_id and status = 'running' and lease_expires_at < now()
    returning id into expired;
    if expired is not null then
        update public.messages
        set status = 'interrupted', token_count = ceil(octet_length(content) / 4.0)
        where id = expired;
    end if;
end
$$;

-- Stores the question and the pending answer, and reads what the model needs. All ids come from the
-- caller, so that a repeat after a lost reply finds its own first attempt and begins nothing twice.
-- Answers {"outcome": "begun" | "not_found" | "conflict", "conversation_id", "history"}; the history
-- holds the newest messages, oldest first, the question among them.
create function app.begin_turn(
    p_user_id           uuid,
    p_conversation_id   uuid,     -- NULL: begin a new one
    p_new_id            uuid,     -- its id, if so
    p_question_id       uuid,
    p_answer_id         uuid,
    p_question          text,
    p_question_tokens   integer,
    p_model             text,
    p_history_limit     integer,
    p_lease             interval
) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    conversation uuid := coalesce(p_conversation_id, p_new_id);
    history jsonb;
begin
    perform set_config('app.user_id', p_user_id::text, true);

    if not exists (select from public.turns where id = p_answer_id) then
        if p_conversation_id is null then
            insert into public.conversations (id, user_id, model)
            values (conversation, p_user_id, p_model);
        else
            -- The lock lets one turn begin at a time, and is what the trigger takes later anyway.
            perform from public.conversations where id = conversation for no key update;
            if not found then
                return jsonb_build_object('outcome', 'not_found');
            end if;
            perform app.interrupt_expired_turn(conversation);
            if exists (select from public.turns where conversation_id = conversation and status = 'running') then
                return jsonb_build_object('outcome', 'conflict');
            end if;
        end if;

        insert into public.messages (id, conversation_id, user_id, role, content, token_count, created_at)
        values (p_question_id, conversation, p_user_id, 'user', p_question, p_question_tokens, clock_timestamp());
        insert into public.messages (id, conversation_id, user_id, role, content, status, created_at)
        values (p_answer_id, conversation, p_user_id, 'assistant', '', 'streaming', clock_timestamp());
        insert into public.turns (id, user_id, conversation_id, lease_expires_at)
        values (p_answer_id, p_user_id, conversation, now() + p_lease);
    end if;

    select coalesce(jsonb_agg(jsonb_build_object('role', newest.role, 'content', newest.content)
                              order by newest.created_at, newest.id), '[]')
    into history
    from (
        select id, role, content, created_at
        from public.messages
        where conversation_id = conversation and content <> '' and role <> 'system'
        order by messages.created_at desc, messages.id desc
        limit p_history_limit
    ) as newest;

    return jsonb_build_object('outcome', 'begun', 'conversation_id', conversation, 'history', history);
end
$$;

-- Settles a turn: answer, tokens, cost and status together, once. Returns how the turn ended, which
-- is another's word if somebody settled it before. The usage is written down even where the
-- conversation was deleted meanwhile.
create function app.finish_turn(
    p_user_id     uuid,
    p_answer_id   uuid,
    p_status      text,
    p_content     text,
    p_token_count integer,
    p_metadata    jsonb,
    p_usage       jsonb      -- an array of usage_logs rows, one for each attempt that cost something
) returns text
language plpgsql
set search_path = ''
as $$
declare
    settled public.turns;
begin
    perform set_config('app.user_id', p_user_id::text, true);

    update public.turns
    set status = p_status, settled_at = now()
    where id = p_answer_id and status = 'running'
    returning * into settled;
    if not found then
        return (select status from public.turns where id = p_answer_id);
    end if;

    update public.messages
    set status = p_status, content = p_content, token_count = p_token_count, metadata = p_metadata
    where id = p_answer_id;

    insert into public.usage_logs (
        id, user_id, conversation_id, message_id, provider, model,
        tokens_in, tokens_out, tokens_cache_read, tokens_cache_write, tokens_reasoning,
        cost_usd, priced, estimated, status, ttft_ms, duration_ms
    )
    select u.id, p_user_id, settled.conversation_id, p_answer_id, u.provider, u.model,
        u.tokens_in, u.tokens_out, u.tokens_cache_read, u.tokens_cache_write, u.tokens_reasoning,
        u.cost_usd, u.priced, u.estimated, u.status, u.ttft_ms, u.duration_ms
    from jsonb_populate_recordset(null::public.usage_logs, p_usage) as u;

    return p_status;
end
$$;
