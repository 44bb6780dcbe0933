"""Measures searches in a million messages: prints the times and a plan for `docs/performance.md`.

One user has a tenth of the messages. 900 other users have equal shares of the rest.
"""

import asyncio
import statistics
import time
from collections.abc import Mapping
from uuid import UUID

import psycopg

from bench import servers
from dev import postgres
from functions.conversations.search_store import SearchStore
from shared.db import Database
from shared.db_credentials import DatabaseCredentials

_MESSAGES = 1_000_000
_ROUNDS = 7
HEAVY_USER, USER = UUID(int=0), UUID(int=2)
# The words are generated: 16 of one letter, 256 of two, 4,096 of three. Without quotes, the last word of a
# query is a prefix.
_QUERIES = {
    "a word in 20 % of the messages": '"b"',
    "a word in 3 % of the messages": '"cb"',
    "a word in 0.3 % of the messages": '"dcb"',
    "a prefix, in half of the messages": "b",
    "three words": "b cb d",
    "a phrase of two words": '"b cb"',
    "a word in no message": "xyz",
}


def fill(url: str, messages: int) -> None:
    """Fills the database. `url` must be a superuser's.

    The index is created after the rows, which takes less time.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("set session_replication_role = replica")  # without triggers
        connection.execute("set maintenance_work_mem = '512MB'")
        row = connection.execute("select pg_get_indexdef('messages_by_word'::regclass)").fetchone()
        assert row is not None
        connection.execute("drop index messages_by_word")
        connection.execute(
            "insert into conversations (id, user_id)"
            " select owner, owner from (select lpad(to_hex(n), 32, '0')::uuid as owner"
            " from generate_series(0, 1000) as n) as owners"
        )
        connection.execute(
            "insert into messages (id, conversation_id, user_id, role, content, created_at)"
            " select gen_random_uuid(), owner, owner, 'user', words,"
            "     '2026-01-01'::timestamptz + n * interval '1 s'"
            " from ("
            "     select n,"
            "         lpad(to_hex(case when n %% 10 = 0 then 0 else 1 + n %% 1000 end), 32, '0')::uuid"
            "             as owner,"
            "         (select string_agg(concat_ws(' ', left(h, 1), substr(h, 2, 2), substr(h, 4, 2),"
            "             substr(h, 6, 3), substr(h, 9, 3), substr(h, 12, 3), substr(h, 15, 4)), ' ')"
            "         from ("
            "             select translate(md5(n || ' ' || i), '0123456789abcdef', 'abcdfghiklmnoprs')"
            "             from generate_series(1, 3 + n %% 3) as i offset 0"
            "         ) as hashes (h)) as words"
            "     from generate_series(1, %s) as n"
            " ) as generated",
            (messages,),
        )
        connection.execute(row[0].encode())
        connection.execute("vacuum analyze messages")


def plan(owner_url: str, user_id: UUID, typed: str) -> str:
    """The plan of the statement in the SQL function `find_messages`, which runs as the owner."""
    with psycopg.connect(owner_url) as connection:
        connection.execute("select set_config('app.user_id', %s, true)", (str(user_id),))
        connection.execute(
            "select set_config('app.search_condition',"
            " app.search_condition(app.user_id(), app.search_query(%s))::text, true),"
            " set_config('work_mem', '32MB', true), set_config('jit', 'off', true)",
            (typed,),
        )
        rows = connection.execute(
            "explain (analyze, buffers)"
            " select id from public.messages"
            " where user_id = (select app.user_id()) and status <> 'streaming'"
            " and app.search_entries(user_id, content) @@ app.current_search_condition()"
            " order by created_at desc, id desc limit 500"
        )
        return "\n".join(line for (line,) in rows)


async def times(url: str, user_id: UUID) -> Mapping[str, float]:
    """Medians in ms by query. The times include the snippets and the round trip to Postgres."""
    database = Database(DatabaseCredentials.from_url(url), timeout=60)
    store = SearchStore(database)
    medians = {}
    for name, typed in _QUERIES.items():
        seconds = []
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            await store.search(user_id, typed, 20)
            seconds.append(time.perf_counter() - started)
        medians[name] = statistics.median(seconds) * 1000
    await database.close()
    return medians


def main() -> None:
    with servers.database() as server:
        fill(server.url("postgres"), _MESSAGES)
        with psycopg.connect(server.url("postgres")) as connection:
            sizes = connection.execute(
                "select pg_size_pretty(pg_table_size('messages')),"
                " pg_size_pretty(pg_relation_size('messages_by_word'))"
            ).fetchone()
        print("{} of messages, {} of index\n".format(*(sizes or ())))
        print("| ms, median | a user with 1,000 messages | with 100,000 |\n| --- | --- | --- |")
        usual, heavy = (
            asyncio.run(times(server.url(postgres.APP), user_id)) for user_id in (USER, HEAVY_USER)
        )
        for name in _QUERIES:
            print(f"| {name} | {usual[name]:.1f} | {heavy[name]:.1f} |")
        print()
        print(plan(server.url(postgres.OWNER), USER, '"cb"'))


if __name__ == "__main__":
    main()
