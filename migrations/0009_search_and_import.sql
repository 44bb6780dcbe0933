-- Full text search over a user's own messages, and conversations that come from a file.
--
-- Row-level security keeps a search off its index: Postgres gives no condition to an index before the
-- policies have been applied, unless its operator is leakproof, and `@@` is not. So the search is a
-- policy itself, for the owner, who sees nothing else.

-- The text that is searched: of a message, as much as a question has at most. A tsvector holds a
-- megabyte, which so many characters cannot fill.
create function app.searched_text(content text) returns text
language sql immutable parallel safe
set search_path = ''
as $$
    -- Scripts that put no space between words (Thai to Burmese, Khmer, kana, Han) become words of one
    -- character each, by a mark around them. The marks are no characters of the text itself.
    select regexp_replace(
        translate(left(content, 32000), E'\x01\x02\x03', ''),
        '[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff'
            '\U00020000-\U0003ffff]',
        E'\x03\\&\x03',
        'g'
    )
$$;

-- 'simple' takes words as they are, in lower case: nobody says what language a message is in, and one
-- language's stems and stop words are wrong for all others.
create function app.words(content text) returns tsvector
language sql immutable parallel safe
set search_path = ''
as $$ select to_tsvector('pg_catalog.simple', app.searched_text(content)) $$;

-- What somebody typed, as a query: any text is one. Quotes hold words together, `-` excludes, `or` is
-- an alternative; the last word may go on, as whoever types it has not finished.
create function app.search_query(typed text) returns tsquery
language sql immutable parallel safe
set search_path = ''
as $$
    select case
        when typed ~ '"\s*$' then query
        else regexp_replace(query::text, '(^|[^!])(''(?:''''|[^''])*'')$', '\1\2:*')::tsquery
    end
    from websearch_to_tsquery('pg_catalog.simple', app.searched_text(typed)) as query
$$;

-- One of 64 shelves for a user's words. An index of words alone would read all users' messages for a
-- word's beginning, one of words for each user would be six times as large.
create function app.search_shelf(user_id uuid) returns text
language sql immutable parallel safe
set search_path = ''
as $$ select left(encode(sha256(uuid_send(user_id)), 'base64'), 1) $$;

-- What the index holds of a message: its words on their shelf, and whose it is. No word begins with a
-- space. Words that are longer than a query are keys and encoded files, and are left out.
create function app.search_entries(user_id uuid, content text) returns tsvector
language sql immutable parallel safe cost 1000
set search_path = ''
as $$
    select array_to_tsvector(array_agg(app.search_shelf(user_id) || lexeme) || (' ' || user_id::text))
    from unnest(app.words(content))
    where char_length(lexeme) <= 200
$$;

-- Which entries a message has that a query finds; it may have them and not be found, as the index does
-- not know what stands next to what, and what is excluded is not looked up. NULL for a query that says
-- only what is not wanted.
create function app.search_condition(user_id uuid, query tsquery) returns tsquery
language sql immutable parallel safe
set search_path = ''
as $$
    select format(''' %s''', user_id)::tsquery && regexp_replace(
        regexp_replace(querytree(query), '<(-|\d+)>', '&', 'g'),
        '''((?:''''|[^''])*)''',
        format('''%s\1''', app.search_shelf(user_id)),
        'g'
    )::tsquery
    where querytree(query) not in ('', 'T')
$$;

-- Without a list of pending entries, which makes one of many writers wait for all of them. An answer is
-- entered when it is finished, not at each checkpoint.
create index messages_by_word on public.messages
    using gin (app.search_entries(user_id, content)) with (fastupdate = off)
    where status <> 'streaming';

create function app.searched_for() returns tsquery
language sql stable
set search_path = ''
as $$ select nullif(current_setting('app.searched_for', true), '')::tsquery $$;

create policy "Messages can be found by a search of their owner's"
    on public.messages for select to current_user
    using (
        user_id = (select app.user_id())
        and status <> 'streaming'
        and app.search_entries(user_id, content) @@ (select app.searched_for())
    );

-- The newest messages of app.user_id() that a query may find. The policy is the condition.
create function app.find_messages(p_query tsquery, p_limit integer) returns setof uuid
language plpgsql
security definer
set search_path = ''
-- Room for the places of 100,000 messages: what does not fit is read and parsed again.
set work_mem = '32MB'
as $$
begin
    perform set_config('app.searched_for', app.search_condition(app.user_id(), p_query)::text, true);
    return query select id from public.messages order by created_at desc, id desc limit p_limit;
    perform set_config('app.searched_for', '', true);
end
$$;

-- What app.user_id() searches for, best first, among the newest 500 messages with the words in them:
-- an old conversation is not worth reading all others for. Snippets have E'\x01' before and E'\x02'
-- after what was found; neither is in the text.
create function app.search_messages(p_typed text, p_limit integer)
returns table (
    message_id uuid, conversation_id uuid, title text, role text, snippet text, created_at timestamptz
)
language plpgsql
set search_path = ''
as $$
declare
    query tsquery := app.search_query(p_typed);
begin
    return query
    with candidates as materialized (
        select m.id, m.created_at, app.words(m.content) as words
        from app.find_messages(query, 500) as found (id) join public.messages as m using (id)
    ),
    best as materialized (
        select id, ts_rank(words, query, 1) as rank
        from candidates
        where words @@ query
        order by rank desc, candidates.created_at desc
        limit p_limit
    )
    select m.id, m.conversation_id, c.title, m.role,
        replace(
            ts_headline(
                'pg_catalog.simple', app.searched_text(m.content), query,
                E'StartSel=\x01, StopSel=\x02, MaxWords=24, MinWords=12, ShortWord=0, MaxFragments=2, '
                    'FragmentDelimiter=" … "'
            ),
            E'\x03', ''
        ),
        m.created_at
    from best
    join public.messages as m using (id)
    join public.conversations as c on c.id = m.conversation_id
    order by best.rank desc, m.created_at desc;
end
$$;

-- Adds messages that came from a file and are not there yet, and returns how many; NULL if the
-- conversation is gone. Their ids are made from the user's, so that a row met here is the user's own.
create function app.import_messages(p_user_id uuid, p_conversation_id uuid, p_messages jsonb) returns integer
language plpgsql
set search_path = ''
as $$
declare
    added integer;
begin
    perform set_config('app.user_id', p_user_id::text, true);
    perform from public.conversations where id = p_conversation_id for no key update;
    if not found then
        return null;
    end if;
    insert into public.messages (
        id, conversation_id, user_id, role, content, status, token_count, metadata, created_at
    )
    select m.id, p_conversation_id, p_user_id, m.role, m.content, m.status, m.token_count, m.metadata,
        m.created_at
    from jsonb_populate_recordset(null::public.messages, p_messages) as m
    on conflict (id) do nothing;
    get diagnostics added = row_count;
    return added;
end
$$;

-- Begins an import with its first messages. Answers {"rate", "made", "imported"}: made says whether
-- the conversation is new. Without room under the limit nothing is stored.
create function app.begin_import(
    p_user_id      uuid,
    p_conversation jsonb,
    p_messages     jsonb,
    p_rate_limit   integer,
    p_rate_window  integer     -- seconds
) returns jsonb
language plpgsql
set search_path = ''
as $$
declare
    rate jsonb;
    made boolean;
begin
    perform set_config('app.user_id', p_user_id::text, true);
    rate := app.take_rate_limit('write', p_rate_limit, p_rate_window);
    if not (rate -> 'allowed')::boolean then
        return jsonb_build_object('rate', rate, 'made', false, 'imported', 0);
    end if;
    insert into public.conversations (id, user_id, title, model, tags, context_window, created_at)
    select c.id, p_user_id, c.title, c.model, c.tags, c.context_window, c.created_at
    from jsonb_populate_record(null::public.conversations, p_conversation) as c
    on conflict (id) do nothing;
    made := found;
    return jsonb_build_object(
        'rate', rate, 'made', made,
        'imported', app.import_messages(p_user_id, (p_conversation ->> 'id')::uuid, p_messages)
    );
end
$$;
