-- What a sidebar needs beyond reading and writing: tags, pages that begin anywhere, and things that
-- change hands when an anonymous user signs in.

alter table public.conversations
    add column tags text[] not null default '{}',
    add constraint conversations_tags_count check (cardinality(tags) <= 20),
    -- Each is 50 characters at most; a check cannot look at them one by one.
    add constraint conversations_tags_length check (char_length(array_to_string(tags, '')) <= 1000),
    add constraint conversations_tags_not_empty check (
        array_position(tags, null) is null and '' <> all (tags)
    );

-- What a list is ordered by, as a column: an expression with coalesce counts as one that might leak
-- rows, so under row-level security an index on it gives the order but does not find the place where a
-- page begins.
alter table public.conversations
    add column active_at timestamptz generated always as (coalesce(last_message_at, created_at)) stored;
drop index public.conversations_by_activity;
create index conversations_by_activity on public.conversations (user_id, active_at desc, id desc);

-- 8 KB of JSON text are taken, and as jsonb that is six times as much at worst: small numbers.
alter table public.messages
    drop constraint messages_metadata_size,
    add constraint messages_metadata_size check (pg_column_size(metadata) <= 65536);

-- As app.take_rate_limit, for a client without a user. The address is a hash already.
create function app.take_rate_limit_of_address(
    p_address        text,
    p_scope          text,
    p_limit          integer,
    p_window_seconds integer
) returns jsonb
language plpgsql
set search_path = ''
as $$
begin
    perform set_config('app.user_id', '', true);
    perform set_config('app.address', p_address, true);
    return app.take_rate_limit(p_scope, p_limit, p_window_seconds);
end
$$;

-- The user whose things are handed to app.user_id(), while app.hand_over runs; otherwise NULL.
create function app.claimed_user_id() returns uuid
language sql stable
set search_path = ''
as $$ select nullif(current_setting('app.claimed_user_id', true), '')::uuid $$;

-- For the owner, and so for app.hand_over alone: the app's own role gains nothing, and its queries
-- keep their one condition, which the indexes serve. Both users are in USING, because a row must be
-- seen before and after it changes hands.
create policy "Conversations can be handed to whoever claims them"
    on public.conversations for all to current_user
    using (user_id in ((select app.claimed_user_id()), (select app.user_id())))
    with check (user_id = (select app.user_id()) and (select app.claimed_user_id()) is not null);

create policy "Usage can be handed to whoever claims it"
    on public.usage_logs for all to current_user
    using (user_id in ((select app.claimed_user_id()), (select app.user_id())))
    with check (user_id = (select app.user_id()) and (select app.claimed_user_id()) is not null);

create policy "Turns can be handed to whoever claims them"
    on public.turns for all to current_user
    using (user_id in ((select app.claimed_user_id()), (select app.user_id())))
    with check (user_id = (select app.user_id()) and (select app.claimed_user_id()) is not null);

-- Makes conversations of p_from app.user_id()'s, with their answers' turns and all of the usage.
-- Messages follow by their foreign key. Returns what of the usage is of today, in USD.
create function app.hand_over(p_from uuid, p_conversations uuid[], p_answers uuid[]) returns numeric
language plpgsql
security definer
set search_path = ''
as $$
declare
    spent numeric;
begin
    perform set_config('app.claimed_user_id', p_from::text, true);
    update public.conversations
    set user_id = app.user_id()
    where id = any (p_conversations) and user_id = p_from;

    -- A key names a turn among its user's own; the new user may have used the same.
    update public.turns
    set user_id = app.user_id(), idempotency_key = null, request_hash = null
    where id = any (p_answers) and user_id = p_from;

    with handed as (
        update public.usage_logs set user_id = app.user_id() where user_id = p_from
        returning cost_usd, created_at
    )
    select coalesce(sum(cost_usd), 0) into spent
    from handed
    where created_at >= app.today()::timestamp at time zone 'UTC';

    perform set_config('app.claimed_user_id', '', true);
    return spent;
end
$$;

-- Moves what an anonymous user has to the one who signed in. That both are the same person is for
-- the caller to know: it has seen the tokens of both.
--
-- Answers {"outcome", "rate", ...}:
--   claimed        claimed: the number of conversations, 0 if there is nothing (any more)
--   rate_limited
--   conflict       an answer is being written for the anonymous user
create function app.claim_conversations(
    p_user_id      uuid,
    p_anonymous_id uuid,
    p_rate_limit   integer,
    p_rate_window  integer     -- seconds
) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    rate          jsonb;
    conversations uuid[];
    answers       uuid[];
    spent         numeric;
begin
    perform app.act_as(p_user_id);
    rate := app.take_rate_limit('write', p_rate_limit, p_rate_window);
    if not (rate -> 'allowed')::boolean then
        return jsonb_build_object('outcome', 'rate_limited', 'rate', rate);
    end if;

    perform app.act_as(p_anonymous_id);
    -- Locked, no turn can begin in them. One that begins a new conversation meanwhile keeps it.
    select coalesce(array_agg(id), '{}') into conversations
    from (select id from public.conversations order by id for update) as locked;
    if exists (select from public.turns where user_id = p_anonymous_id and status = 'running') then
        return jsonb_build_object('outcome', 'conflict', 'rate', rate);
    end if;
    select coalesce(array_agg(id), '{}') into answers
    from public.messages
    where conversation_id = any (conversations) and role = 'assistant';

    perform set_config('app.user_id', p_user_id::text, true);
    spent := app.hand_over(p_anonymous_id, conversations, answers);
    -- Where today has no row yet, app.reserve_budget will make it from the usage.
    update public.budgets
    set spent_usd = spent_usd + spent
    where user_id = p_user_id and day = app.today();
    return jsonb_build_object('outcome', 'claimed', 'claimed', cardinality(conversations), 'rate', rate);
end
$$;
