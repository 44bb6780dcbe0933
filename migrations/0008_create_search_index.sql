-- Full text search over a user's own messages.
--
-- Row-level security keeps a search from using an index: Postgres gives a condition to an index before the
-- policies are applied only if its operator is leakproof, and `@@` is not. So the search condition is a
-- policy for the owner of the tables, who sees no other message.
--
-- The functions below stand in a numbered file because the index stores their results, and a policy refers
-- to them. A function with other results needs a new index, so it changes in a numbered file that also
-- rebuilds the index.

-- The searchable text of a message: as many characters as a question may have. A tsvector holds one
-- megabyte, more than these characters can fill.
create function $functions.search_text(content text) returns text
language sql immutable parallel safe
set search_path = ''
as $$
    -- Scripts without spaces between words (Thai to Burmese, Khmer, kana, Han) become words of one character
    -- each, by a mark on both sides. The marks are characters that are removed from the text first.
    select regexp_replace(
        translate(left(content, 32000), E'\x01\x02\x03', ''),
        '[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff'
            '\U00020000-\U0003ffff]',
        E'\x03\\&\x03',
        'g'
    )
$$;

-- The words of a message. 'simple' keeps words as they are, in lower case: the language of a message is not
-- known, and the stems and stop words of one language are wrong for the others.
create function $functions.search_vector(content text) returns tsvector
language sql immutable parallel safe
set search_path = ''
as $$ select to_tsvector('pg_catalog.simple', $functions.search_text(content)) $$;

-- One of 64 buckets for the words of a user. An index of plain words would read the entries of all users
-- for the beginning of a word; an index of words by user would be six times as large.
create function $functions.search_bucket(user_id uuid) returns text
language sql immutable parallel safe
set search_path = ''
as $$ select left(encode(sha256(uuid_send(user_id)), 'base64'), 1) $$;

-- The index entries of a message: its words, each with the bucket in front, and its user. A word never
-- begins with a space. Words that are longer than a query are keys and encoded files; they are left out.
create function $functions.search_entries(user_id uuid, content text) returns tsvector
language sql immutable parallel safe cost 1000
set search_path = ''
as $$
    select array_to_tsvector(array_agg($functions.search_bucket(user_id) || lexeme) || (' ' || user_id::text))
    from unnest($functions.search_vector(content))
    where char_length(lexeme) <= 200
$$;

-- The condition on index entries that find_messages sets for its own query. NULL in every other transaction.
create function $functions.current_search_condition() returns tsquery
language plpgsql stable parallel safe
set search_path = ''
as $$
begin
    return nullif(current_setting('app.search_condition', true), '')::tsquery;
end
$$;

-- Without a list of pending entries: one of many writers would have to work it off while all others wait.
-- An answer enters the index when it is finished, not at each checkpoint.
create index messages_by_word on $tables.messages
    using gin ($functions.search_entries(user_id, content)) with (fastupdate = off)
    where status <> 'streaming';

create policy "Messages can be found by a search of their owner"
    on $tables.messages for select to current_user
    using (
        user_id = (select $functions.user_id())
        and status <> 'streaming'
        and $functions.search_entries(user_id, content) @@ $functions.current_search_condition()
    );
