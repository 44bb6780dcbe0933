-- version 1
-- The messages of app.user_id that match a search, best first. Only the newest 500 messages that contain the
-- words are read. A snippet has E'\x01' before and E'\x02' after each match; the text itself has neither.
--
-- Request: text, limit.
create or replace function $functions.search_messages(p_request jsonb)
returns table (
    message_id uuid, conversation_id uuid, title text, role text, snippet text, created_at timestamptz
)
language plpgsql
set search_path = ''
as $$
declare
    request record;
    query   tsquery;
begin
    select * into request from jsonb_to_record(p_request) as r ("text" text, "limit" integer);
    query := $functions.search_query(request."text");
    return query
    with candidates as materialized (
        select m.id, m.created_at, $functions.search_vector(m.content) as words
        from $functions.find_messages(query, 500) as found (id) join $tables.messages as m using (id)
    ),
    best as materialized (
        select id, ts_rank(words, query, 1) as rank
        from candidates
        where words @@ query
        order by rank desc, candidates.created_at desc
        limit request."limit"
    )
    select m.id, m.conversation_id, c.title, m.role,
        replace(
            ts_headline(
                'pg_catalog.simple', $functions.search_text(m.content), query,
                E'StartSel=\x01, StopSel=\x02, MaxWords=24, MinWords=12, ShortWord=0, MaxFragments=2, '
                    'FragmentDelimiter=" … "'
            ),
            E'\x03', ''
        ),
        m.created_at
    from best
    join $tables.messages as m using (id)
    join $tables.conversations as c on c.id = m.conversation_id
    order by best.rank desc, m.created_at desc;
end
$$;
