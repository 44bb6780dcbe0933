-- A turn's life, each step one statement and so one round trip and one transaction. All of them run
-- with the caller's rights: row-level security applies to every statement in them.

-- Tokens measured on a text: four bytes of UTF-8 each, as in shared/costs.py.
create function app.estimated_tokens(text_length bigint) returns integer
language sql immutable
set search_path = ''
as $$ select ceil(text_length / 4.0)::integer $$;

-- Gives back what a turn held, on the day it began, and books what it cost, today, as usage_logs does.
-- A row that was mended by hand meanwhile is no reason to lose an answer.
create function app.settle_budget(p_turn public.turns, p_cost numeric) returns void
language sql
set search_path = ''
as $$
    update public.budgets
    set reserved_usd = greatest(0, reserved_usd - p_turn.reserved_usd)
    where user_id = p_turn.user_id and day = (p_turn.created_at at time zone 'UTC')::date
        and p_turn.reserved_usd is not null;

    update public.budgets
    set spent_usd = spent_usd + p_cost
    where user_id = p_turn.user_id and day = app.today();
$$;

-- What a new answer takes the place of goes when there is something to take it: not before the model
-- was asked, and not for an answer that came to nothing.
create function app.replace_answer(p_turn public.turns, p_content text) returns void
language sql
set search_path = ''
as $$
    delete from public.messages
    where conversation_id = p_turn.conversation_id and id <> p_turn.id
        and created_at >= p_turn.replaces_from
        and created_at < (select answer.created_at from public.messages as answer where answer.id = p_turn.id)
        and p_content <> ''
$$;

-- Settles one turn whose writer is gone: the text stays, the status says so, and the cost is estimated
-- from what there is, as nobody else will ever say.
create function app.interrupt_turn(p_turn public.turns) returns void
language plpgsql
set search_path = ''
as $$
declare
    answer     text;
    tokens_out integer;
    cost       numeric;
begin
    update public.turns set status = 'interrupted', settled_at = now() where id = p_turn.id;
    update public.messages
    set status = 'interrupted', token_count = app.estimated_tokens(octet_length(content))
    where id = p_turn.id
    returning content into answer;
    perform app.replace_answer(p_turn, coalesce(answer, ''));

    tokens_out := app.estimated_tokens(octet_length(coalesce(answer, '')));
    cost := p_turn.prompt_tokens * p_turn.usd_per_input + tokens_out * p_turn.usd_per_output;
    insert into public.usage_logs (
        id, user_id, conversation_id, message_id, provider, model, tokens_in, tokens_out,
        cost_usd, priced, estimated, status, duration_ms
    ) values (
        gen_random_uuid(), p_turn.user_id, p_turn.conversation_id, p_turn.id,
        split_part(p_turn.model, '/', 1), substr(p_turn.model, strpos(p_turn.model, '/') + 1),
        p_turn.prompt_tokens, tokens_out, cost, p_turn.priced, true, 'interrupted',
        greatest(0, extract(epoch from p_turn.lease_expires_at - p_turn.created_at) * 1000)
    );
    perform app.settle_budget(p_turn, cost);
end
$$;

create function app.interrupt_expired_turns() returns void
language plpgsql
set search_path = ''
as $$
declare
    expired public.turns;
begin
    for expired in
        select * from public.turns
        where user_id = (select app.user_id()) and status = 'running' and lease_expires_at < now()
        order by id
        for update skip locked
    loop
        perform app.interrupt_turn(expired);
    end loop;
end
$$;

-- Holds back p_amount of the day's budget, or says no. The row's lock makes parallel turns take their
-- places one after the other.
create function app.reserve_budget(p_amount numeric, p_budget numeric) returns boolean
language plpgsql
set search_path = ''
as $$
begin
    insert into public.budgets (user_id, day, spent_usd)
    select app.user_id(), app.today(), coalesce(sum(cost_usd), 0)
    from public.usage_logs
    where user_id = (select app.user_id()) and created_at >= app.today()::timestamp at time zone 'UTC'
    on conflict (user_id, day) do nothing;

    update public.budgets
    set reserved_usd = reserved_usd + p_amount
    where user_id = (select app.user_id()) and day = app.today()
        and spent_usd + reserved_usd + p_amount <= p_budget;
    return found;
end
$$;

-- Makes the rest of the transaction act as a user, for whom no dead writer's answer looks alive.
create function app.act_as(p_user_id uuid) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform set_config('app.user_id', p_user_id::text, true);
    perform app.interrupt_expired_turns();
end
$$;

-- For users who never come back. The owner may see whose turns are over, and nothing else of them.
create policy "Turns whose writer is gone can be found by the sweep"
    on public.turns for select to current_user
    using (status = 'running' and lease_expires_at < now());

create function app.users_with_expired_turns() returns setof uuid
language sql stable
security definer
set search_path = ''
as $$
    select distinct user_id from public.turns
    where status = 'running' and lease_expires_at < now()
    limit 20
$$;

create function app.sweep_turns() returns void
language plpgsql
set search_path = ''
as $$
declare
    somebody uuid;
begin
    for somebody in select * from app.users_with_expired_turns() loop
        begin
            perform app.act_as(somebody);
        exception when others then
            -- Whoever came by to sweep does not pay for what is wrong with another's rows.
            raise warning 'a turn could not be swept: %', sqlstate;
        end;
    end loop;
end
$$;

-- How long this user's answers are, in tokens: nine of ten of the last twenty were no longer.
create function app.typical_answer_tokens() returns integer
language sql stable
set search_path = ''
as $$
    select coalesce(percentile_disc(0.9) within group (order by tokens_out), 500)::integer
    from (
        select tokens_out
        from public.usage_logs
        where user_id = (select app.user_id())
        order by created_at desc
        limit 20
    ) as latest
$$;

-- The prompt, and an answer as long as this user's are, if it may be that long; and half as much again,
-- as what is estimated here is counted exactly later.
create function app.likely_cost(
    p_prompt_tokens integer, p_max_tokens integer, p_usd_per_input numeric, p_usd_per_output numeric
) returns numeric
language sql stable
set search_path = ''
as $$
    select 1.5 * (
        p_prompt_tokens * p_usd_per_input
        + least(p_max_tokens, app.typical_answer_tokens()) * p_usd_per_output
    )
$$;

create function app.seconds_of_today_left() returns integer
language sql stable
set search_path = ''
as $$ select ceil(extract(epoch from app.today() + 1 - now() at time zone 'UTC'))::integer $$;

-- The newest messages with text before a moment, oldest first: what the model gets to see.
create function app.history(p_conversation_id uuid, p_limit integer, p_before timestamptz) returns jsonb
language sql stable
set search_path = ''
as $$
    select coalesce(
        jsonb_agg(
            jsonb_build_object('role', newest.role, 'content', newest.content)
            order by newest.created_at, newest.id
        ),
        '[]'
    )
    from (
        select id, role, content, created_at
        from public.messages
        where conversation_id = p_conversation_id and content <> '' and role <> 'system'
            and created_at < p_before
        order by messages.created_at desc, messages.id desc
        limit p_limit
    ) as newest
$$;

-- Where an answer begins that is to be written anew: at the one named, or where '' is the name, after
-- the newest question. NULL if there is no such place.
create function app.place_of_answer(p_conversation_id uuid, p_name text) returns timestamptz
language sql stable
set search_path = ''
as $$
    select case when p_name = '' then
        (
            select max(created_at) + interval '1 microsecond' from public.messages
            where conversation_id = p_conversation_id and role = 'user'
        )
    else
        (
            select created_at from public.messages
            where conversation_id = p_conversation_id and role = 'assistant' and id::text = lower(p_name)
        )
    end
$$;

-- Whether a question stands before the answer that is to be replaced. Always, if none is.
create function app.can_replace(p_conversation_id uuid, p_name text) returns boolean
language sql stable
set search_path = ''
as $$
    select p_name is null or exists (
        select from public.messages
        where conversation_id = p_conversation_id and role = 'user'
            and created_at < app.place_of_answer(p_conversation_id, p_name)
    )
$$;

create function app.is_newest_question(p_conversation_id uuid, p_question text) returns boolean
language sql stable
set search_path = ''
as $$
    select coalesce(
        (
            select content = p_question
            from public.messages
            where conversation_id = p_conversation_id and role = 'user'
            order by created_at desc, id desc
            limit 1
        ),
        false
    )
$$;

create function app.is_empty_and_last(p_answer_id uuid) returns boolean
language sql stable
set search_path = ''
as $$
    select exists (
        select from public.messages as answer
        where id = p_answer_id and content = ''
            and not exists (
                select from public.messages as later
                where later.conversation_id = answer.conversation_id
                    and (later.created_at, later.id) > (answer.created_at, answer.id)
            )
    )
$$;

-- Stores the question and the pending answer, and reads what the model needs, in this order: is it a
-- repeat, is there room under the limit, is the conversation the user's and free, is there money.
-- What is refused leaves nothing but the counted hit. All ids come from the caller, so that a call
-- whose reply was lost can be made again and finds its own first attempt.
--
-- Answers {"outcome", ...}:
--   begun            conversation_id, answer_id, history, the question last in it: ask the model
--   repeated         conversation_id, answer_id: this key has run or is running; follow that answer
--   mismatch         this key was used for another request
--   rate_limited     rate: see app.take_rate_limit
--   not_found        no such conversation of this user
--   conflict         another answer is being written in it
--   budget_exceeded  renews_in: seconds
create function app.begin_turn(
    p_user_id         uuid,
    p_conversation_id uuid,       -- NULL: begin a new one
    p_new_id          uuid,       -- its id, if so
    p_question_id     uuid,
    p_answer_id       uuid,
    p_question        text,
    p_key             text,       -- NULL: none
    p_hash            bytea,
    p_model           text,
    p_system_tokens   integer,
    p_max_tokens      integer,
    p_usd_per_input   numeric,    -- for a token
    p_usd_per_output  numeric,
    p_priced          boolean,
    p_history_limit   integer,
    p_lease           interval,
    p_rate_limit      integer,
    p_rate_window     integer,    -- seconds
    p_budget          numeric,    -- USD a day; 0: none
    p_create          boolean default false,  -- a conversation that is not there: make it, as p_new_id
    p_replaces        text default null       -- an answer to write anew: its id, or '' for the last
) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    conversation  uuid := coalesce(p_conversation_id, p_new_id);
    answer        uuid := p_answer_id;
    earlier       public.turns;
    rate          jsonb;
    begins        boolean := p_conversation_id is null;
    replaces_from timestamptz;
    moment        timestamptz;
    prompt_size   integer;      -- tokens
    reserved      numeric;
begin
    perform set_config('app.user_id', p_user_id::text, true);

    if p_key is not null then
        perform pg_advisory_xact_lock(hashtextextended(p_user_id::text || p_key, 0));
    end if;
    select * into earlier
    from public.turns
    where attempt_id = p_answer_id or (user_id = p_user_id and idempotency_key = p_key);
    if earlier.attempt_id = p_answer_id then
        return jsonb_build_object(
            'outcome', 'begun', 'conversation_id', earlier.conversation_id, 'answer_id', earlier.id,
            'history', app.history(
                earlier.conversation_id, p_history_limit,
                coalesce(earlier.replaces_from, (select created_at from public.messages where id = earlier.id))
            )
        );
    end if;
    if earlier.id is not null then
        if earlier.request_hash <> p_hash then
            return jsonb_build_object('outcome', 'mismatch');
        end if;
        conversation := earlier.conversation_id;
        answer := earlier.id;
        -- Where no model said a word, and nothing was said since, the turn is run again, on the question
        -- that is there already.
        if earlier.status not in ('error', 'interrupted') or not app.is_empty_and_last(answer) then
            return jsonb_build_object(
                'outcome', 'repeated', 'conversation_id', conversation, 'answer_id', answer
            );
        end if;
    end if;

    rate := app.take_rate_limit('chat', p_rate_limit, p_rate_window);
    if not (rate -> 'allowed')::boolean then
        return jsonb_build_object('outcome', 'rate_limited', 'rate', rate);
    end if;

    begins := begins and earlier.id is null;
    if not begins then
        -- The lock lets one turn begin at a time. It comes before all that settling a turn locks, as
        -- there, too, the conversation comes before the budget.
        perform from public.conversations where id = conversation for no key update;
        if not found and p_create and conversation <> p_new_id then
            conversation := p_new_id;
            perform from public.conversations where id = conversation for no key update;
        end if;
        begins := not found;
        perform app.interrupt_expired_turns();
        if begins and (earlier.id is not null or not p_create) then
            return jsonb_build_object('outcome', 'not_found', 'rate', rate);
        end if;
        if exists (select from public.turns where conversation_id = conversation and status = 'running') then
            return jsonb_build_object('outcome', 'conflict', 'rate', rate);
        end if;
        if p_replaces = '' and not app.is_newest_question(conversation, p_question) then
            -- The question to be answered anew was refused and never stored: it is asked now.
            p_replaces := null;
        end if;
        if earlier.id is null and not app.can_replace(conversation, p_replaces) then
            return jsonb_build_object('outcome', 'not_found', 'rate', rate);
        end if;
        replaces_from := coalesce(earlier.replaces_from, app.place_of_answer(conversation, p_replaces));
    else
        perform app.interrupt_expired_turns();
    end if;

    select p_system_tokens
        + coalesce(sum(app.estimated_tokens(octet_length(newest.content))), 0)
        + case when earlier.id is null then app.estimated_tokens(octet_length(p_question)) else 0 end
    into prompt_size
    from (
        select content from public.messages
        where conversation_id = conversation and created_at < coalesce(replaces_from, 'infinity')
        order by created_at desc, id desc
        limit p_history_limit
    ) as newest;

    if p_budget > 0 then
        reserved := app.likely_cost(prompt_size, p_max_tokens, p_usd_per_input, p_usd_per_output);
        if not app.reserve_budget(reserved, p_budget) then
            return jsonb_build_object(
                'outcome', 'budget_exceeded', 'rate', rate,
                'renews_in', app.seconds_of_today_left()
            );
        end if;
    end if;

    if earlier.id is not null then
        update public.messages set status = 'streaming', metadata = '{}' where id = answer;
        update public.turns
        set status = 'running', settled_at = null, attempt_id = p_answer_id, cancel_requested = false, created_at = now(),
            lease_expires_at = now() + p_lease, model = p_model, prompt_tokens = prompt_size,
            usd_per_input = p_usd_per_input, usd_per_output = p_usd_per_output, priced = p_priced,
            reserved_usd = reserved
        where id = answer;
    else
        if begins then
            insert into public.conversations (id, user_id, model) values (conversation, p_user_id, p_model)
            on conflict (id) do nothing;
            if not found then
                -- Made meanwhile, under the same name: the caller tries again, and finds it.
                raise sqlstate '40001';
            end if;
        end if;
        -- Read after all locks were given, so that the order of messages is the order of turns.
        moment := clock_timestamp();
        -- One statement, as each makes the conversation's figures follow.
        insert into public.messages (id, conversation_id, user_id, role, content, status, token_count, created_at)
        select p_question_id, conversation, p_user_id, 'user', p_question, 'complete',
            app.estimated_tokens(octet_length(p_question)), moment
        where p_replaces is null
        union all
        select answer, conversation, p_user_id, 'assistant', '', 'streaming', 0, moment + interval '1 microsecond';
        insert into public.turns (
            id, user_id, attempt_id, conversation_id, lease_expires_at, idempotency_key, request_hash,
            model, prompt_tokens, usd_per_input, usd_per_output, priced, replaces_from, reserved_usd
        ) values (
            answer, p_user_id, p_answer_id, conversation, now() + p_lease, p_key, p_hash,
            p_model, prompt_size, p_usd_per_input, p_usd_per_output, p_priced, replaces_from, reserved
        );
    end if;

    return jsonb_build_object(
        'outcome', 'begun', 'conversation_id', conversation, 'answer_id', answer,
        'history', app.history(
            conversation, p_history_limit,
            coalesce(replaces_from, (select created_at from public.messages where id = answer))
        ),
        'rate', rate
    );
end
$$;

-- A turn of which nothing is stored but its cost. Outcomes as of app.begin_turn: begun, repeated (there
-- is no text to give again), rate_limited, budget_exceeded.
create function app.begin_stateless_turn(
    p_user_id        uuid,
    p_answer_id      uuid,
    p_key            text,
    p_hash           bytea,
    p_model          text,
    p_prompt_tokens  integer,
    p_max_tokens     integer,
    p_usd_per_input  numeric,
    p_usd_per_output numeric,
    p_priced         boolean,
    p_lease          interval,
    p_rate_limit     integer,
    p_rate_window    integer,
    p_budget         numeric
) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    earlier  public.turns;
    rate     jsonb;
    reserved numeric;
begin
    perform set_config('app.user_id', p_user_id::text, true);
    if exists (select from public.turns where id = p_answer_id) then
        return jsonb_build_object('outcome', 'begun', 'answer_id', p_answer_id);
    end if;
    if p_key is not null then
        perform pg_advisory_xact_lock(hashtextextended(p_user_id::text || p_key, 0));
        select * into earlier from public.turns where user_id = p_user_id and idempotency_key = p_key;
        if earlier.request_hash <> p_hash then
            return jsonb_build_object('outcome', 'mismatch');
        end if;
        if earlier.status = 'error' and not exists (
            select from public.usage_logs where message_id = earlier.id and tokens_out > 0
        ) then
            -- No model said a word: the key is free again.
            update public.turns set idempotency_key = null, request_hash = null where id = earlier.id;
        elsif earlier.id is not null then
            return jsonb_build_object('outcome', 'repeated');
        end if;
    end if;

    rate := app.take_rate_limit('chat', p_rate_limit, p_rate_window);
    if not (rate -> 'allowed')::boolean then
        return jsonb_build_object('outcome', 'rate_limited', 'rate', rate);
    end if;

    perform app.interrupt_expired_turns();
    if p_budget > 0 then
        reserved := app.likely_cost(p_prompt_tokens, p_max_tokens, p_usd_per_input, p_usd_per_output);
        if not app.reserve_budget(reserved, p_budget) then
            return jsonb_build_object(
                'outcome', 'budget_exceeded', 'rate', rate, 'renews_in', app.seconds_of_today_left()
            );
        end if;
    end if;

    insert into public.turns (
        id, user_id, attempt_id, lease_expires_at, idempotency_key, request_hash, model,
        prompt_tokens, usd_per_input, usd_per_output, priced, reserved_usd
    ) values (
        p_answer_id, p_user_id, p_answer_id, now() + p_lease, p_key, p_hash, p_model,
        p_prompt_tokens, p_usd_per_input, p_usd_per_output, p_priced, reserved
    );
    return jsonb_build_object('outcome', 'begun', 'answer_id', p_answer_id, 'rate', rate);
end
$$;

-- The answer that is being written in a conversation, if one is.
create function app.running_answer(p_user_id uuid, p_conversation_id uuid) returns uuid
language plpgsql
set search_path = ''
as $$
begin
    perform app.act_as(p_user_id);
    return (select id from public.turns where conversation_id = p_conversation_id and status = 'running');
end
$$;

-- Saves what has come so far and says that somebody is still writing. Returns 'running', 'cancel' once
-- the user wants it to stop, or how the turn ended, if somebody else settled it.
create function app.checkpoint_turn(
    p_user_id   uuid,
    p_answer_id uuid,
    p_content   text,     -- NULL: as before
    p_lease     interval
) returns text
language plpgsql
set search_path = ''
as $$
declare
    cancel boolean;
begin
    perform set_config('app.user_id', p_user_id::text, true);
    update public.turns
    set lease_expires_at = now() + p_lease
    where id = p_answer_id and status = 'running'
    returning cancel_requested into cancel;
    if not found then
        return (select status from public.turns where id = p_answer_id);
    end if;
    if p_content is not null then
        update public.messages set content = p_content where id = p_answer_id;
    end if;
    return case when cancel then 'cancel' else 'running' end;
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
    perform app.replace_answer(settled, p_content);

    insert into public.usage_logs (
        id, user_id, conversation_id, message_id, provider, model,
        tokens_in, tokens_out, tokens_cache_read, tokens_cache_write, tokens_reasoning,
        cost_usd, priced, estimated, status, ttft_ms, duration_ms
    )
    select u.id, p_user_id, settled.conversation_id, p_answer_id, u.provider, u.model,
        u.tokens_in, u.tokens_out, u.tokens_cache_read, u.tokens_cache_write, u.tokens_reasoning,
        u.cost_usd, u.priced, u.estimated, u.status, u.ttft_ms, u.duration_ms
    from jsonb_populate_recordset(null::public.usage_logs, p_usage) as u;

    perform app.settle_budget(
        settled, (select coalesce(sum((u ->> 'cost_usd')::numeric), 0) from jsonb_array_elements(p_usage) as u)
    );

    -- Now and then, and last, as it acts for others.
    if random() < 0.02 then
        perform app.sweep_turns();
    end if;
    return p_status;
end
$$;

-- The cost of an answer that was given while the database was away, and so belongs to no turn.
create function app.log_unstored_usage(p_user_id uuid, p_answer_id uuid, p_usage jsonb) returns void
language plpgsql
set search_path = ''
as $$
begin
    perform set_config('app.user_id', p_user_id::text, true);
    with logged as (
        insert into public.usage_logs (
            id, user_id, message_id, provider, model,
            tokens_in, tokens_out, tokens_cache_read, tokens_cache_write, tokens_reasoning,
            cost_usd, priced, estimated, status, ttft_ms, duration_ms
        )
        select u.id, p_user_id, p_answer_id, u.provider, u.model,
            u.tokens_in, u.tokens_out, u.tokens_cache_read, u.tokens_cache_write, u.tokens_reasoning,
            u.cost_usd, u.priced, u.estimated, u.status, u.ttft_ms, u.duration_ms
        from jsonb_populate_recordset(null::public.usage_logs, p_usage) as u
        on conflict (id) do nothing
        returning cost_usd
    )
    update public.budgets
    set spent_usd = spent_usd + (select coalesce(sum(cost_usd), 0) from logged)
    where user_id = p_user_id and day = app.today();
end
$$;

-- Asks a running turn to stop, wherever it runs. Returns 'running' if it will, how it ended if it has,
-- NULL if there is no such turn of this user.
create function app.cancel_turn(p_user_id uuid, p_answer_id uuid) returns text
language plpgsql
set search_path = ''
as $$
begin
    perform app.act_as(p_user_id);
    update public.turns set cancel_requested = true where id = p_answer_id and status = 'running';
    return (select status from public.turns where id = p_answer_id);
end
$$;

-- What an answer has beyond its first p_offset characters, and how it stands:
-- {"status", "text", "metadata", "usage"}, or NULL if there is no such answer of this user.
create function app.read_answer(p_user_id uuid, p_answer_id uuid, p_offset integer) returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform app.act_as(p_user_id);
    return (
        select jsonb_build_object(
            'status', m.status,
            'length', char_length(m.content),
            'text', substr(m.content, p_offset + 1),
            'metadata', m.metadata,
            'conversation_id', m.conversation_id,
            'usage', (
                select to_jsonb(u) from public.usage_logs as u
                where u.message_id = m.id
                -- The attempt that gave the answer, not one that came to nothing before it.
                order by u.created_at desc, (u.status = m.status) desc, u.tokens_out desc
                limit 1
            )
        )
        from public.messages as m
        where m.id = p_answer_id and m.role = 'assistant'
    );
end
$$;

-- Deletes a conversation with its messages; whoever is writing an answer in it is told to stop. The
-- turns are locked first, as by those who write. Returns whether there was such a conversation.
create function app.delete_conversation(p_user_id uuid, p_conversation_id uuid) returns boolean
language plpgsql
set search_path = ''
as $$
begin
    perform app.act_as(p_user_id);
    update public.turns set cancel_requested = true
    where conversation_id = p_conversation_id and status = 'running';
    delete from public.conversations where id = p_conversation_id;
    return found;
end
$$;
