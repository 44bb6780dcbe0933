-- Full text search over a user's own messages.
--
-- Under row-level security Postgres uses an index only for conditions with a leakproof operator, and `@@` is
-- not leakproof. So the search condition is itself a policy. It is for the owner of the tables, who can see a
-- message only by this policy.
--
-- The functions below are in a numbered file because the index stores their results and a policy calls them.
-- If the results of a function change, the index is wrong: the change needs a numbered file that also
-- rebuilds the index.

-- The searchable text of a message: its first 32,000 characters, the maximum length of a question. They
-- always fit into a tsvector, which holds one megabyte.
create function $functions.search_text(content text) returns text
language sql immutable parallel safe
set search_path = ''
as $$
    -- In scripts without spaces between words (Thai to Burmese, Khmer, kana, Han) each character becomes a
    -- word: it gets the mark \x03 on both sides. translate() first removes the characters that are used as
    -- marks.
    select regexp_replace(
        translate(left(content, 32000), E'\x01\x02\x03', ''),
        '[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff'
            '\U00020000-\U0003ffff]',
        E'\x03\\&\x03',
        'g'
    )
$$;

-- The words of a message. 'simple' changes words to lower case and nothing else, because the language is not
-- known, and the stems and stop words of one language are wrong for other languages.
create function $functions.search_vector(content text) returns tsvector
language sql immutable parallel safe
set search_path = ''
as $$ select to_tsvector('pg_catalog.simple', $functions.search_text(content)) $$;

-- The bucket of a user's words, one of 64. Without buckets, a search for the beginning of a word would read
-- the entries of all users. With the user's id in each entry, the index would be six times as large.
create function $functions.search_bucket(user_id uuid) returns text
language sql immutable parallel safe
set search_path = ''
as $$ select left(encode(sha256(uuid_send(user_id)), 'base64'), 1) $$;

-- The index entries of a message: its words, each after the bucket, and one entry for the user. The entry of
-- the user begins with a space, so it cannot be a word. Words that are longer than the longest query are left
-- out: they are keys and encoded files.
create function $functions.search_entries(user_id uuid, content text) returns tsvector
language sql immutable parallel safe cost 1000
set search_path = ''
as $$
    select array_to_tsvector(array_agg($functions.search_bucket(user_id) || lexeme) || (' ' || user_id::text))
    from unnest($functions.search_vector(content))
    where char_length(lexeme) <= 200
$$;

-- The condition on index entries, which find_messages sets for its query. NULL in other transactions.
create function $functions.current_search_condition() returns tsquery
language plpgsql stable parallel safe
set search_path = ''
as $$
begin
    return nullif(current_setting('app.search_condition', true), '')::tsquery;
end
$$;

-- fastupdate is off, because with it one writer has to process the list of pending entries while the other
-- writers wait. An answer is indexed when it is finished, not at each checkpoint.
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
