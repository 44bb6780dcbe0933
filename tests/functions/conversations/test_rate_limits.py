"""The rate limit of writes is exact in every window, for any number of processes."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.serving import SECRET, Client, serve, settings, token

USER = uuid4()
ROOT = Path(__file__).parents[3]
PATH = "/api/chat/conversations"
USER_MESSAGE = "Let's take a breath. You can continue in a moment."


@contextmanager
def server_process(database):
    """Runs the server of `make run` in another process on a free port."""
    environ = os.environ | {"DATABASE_URL": database.url, "JWT_SECRET": SECRET, "PORT": "0"}
    command = [sys.executable, "-m", "dev.server"]
    with subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server
        finally:
            server.terminate()


async def post_to_all(urls, count):
    """Sends `count` parallel requests, spread over the servers, and counts the statuses of the responses."""
    limits = httpx.Limits(max_connections=count)
    headers = {"authorization": f"Bearer {token(USER)}"}
    async with httpx.AsyncClient(headers=headers, limits=limits, timeout=30, trust_env=False) as client:
        requests = [client.post(urls[n % len(urls)] + PATH, json={}) for n in range(count)]
        return Counter(response.status_code for response in await asyncio.gather(*requests))


def test_exactly_10_of_100_parallel_requests_to_4_processes_pass_in_each_window(database):
    def shift(seconds):
        database.rows(
            "update rate_limits"
            " set hits = array(select hit - make_interval(secs => %s) from unnest(hits) as hit)",
            (seconds,),
        )

    with ExitStack() as stack:
        servers = [stack.enter_context(server_process(database)) for _ in range(4)]
        urls = [server.stdout.readline().split()[1] for server in servers]

        assert asyncio.run(post_to_all(urls, 100)) == {201: 10, 429: 90}
        assert len(database.rows("select 1 from conversations")) == 10

        # After half of the window no request passes; after the whole window ten pass again.
        shift(30)
        assert asyncio.run(post_to_all(urls, 20)) == {429: 20}
        shift(31)
        assert asyncio.run(post_to_all(urls, 100)) == {201: 10, 429: 90}

        # Four of the ten hits leave the window. A counter that restarts would let ten requests pass.
        database.rows(
            "update rate_limits set hits ="
            " array(select hit - make_interval(secs => case when n <= 4 then 61 else 40 end)"
            "     from unnest(hits) with ordinality as t (hit, n))"
        )
        assert asyncio.run(post_to_all(urls, 100)) == {201: 4, 429: 96}
        assert len(database.rows("select 1 from conversations")) == 24


def test_all_posts_share_one_limit_and_return_the_remaining_number(database):
    config = settings(database.url, RATE_LIMIT_WRITE="3/60", ALLOW_ANONYMOUS="true")
    with serve(config) as url, Client(url, USER) as client:
        conversation = f"{PATH}/{client.post(PATH, json={}).json()['id']}"
        message = {"role": "user", "content": "Hi"}
        second = client.post(f"{conversation}/messages", json=message)
        assert second.headers["ratelimit-policy"] == '"write";q=3;w=60'
        assert second.headers["ratelimit"] in {f'"write";r=1;t={seconds}' for seconds in (59, 60)}
        assert client.post(PATH, json={}).headers["ratelimit"].startswith('"write";r=0;t=')

        anonymous = httpx.post(f"{url}/auth/anonymous", trust_env=False).json()["token"]
        refused = [
            client.post(PATH, json={}),
            client.post(f"{conversation}/messages", json=message),
            client.post(f"{PATH}/claim", json={"token": anonymous}),
        ]
        for response in refused:
            assert (response.status_code, response.json()["code"]) == (429, "rate_limited")
            assert response.json()["userMessage"] == USER_MESSAGE
            assert 1 <= int(response.headers["retry-after"]) <= 60
            assert response.headers["ratelimit-policy"] == '"write";q=3;w=60'
            assert response.headers["ratelimit"] == f'"write";r=0;t={response.headers["retry-after"]}'
        # Reads and changes are not counted, and other users have their own count.
        assert client.get(conversation).json()["message_count"] == 1
        assert client.patch(conversation, json={"title": "Still here"}).status_code == 200
        with Client(url, uuid4()) as other:
            assert other.post(PATH, json={}).status_code == 201
    assert len(database.rows("select 1 from conversations")) == 3


@pytest.mark.parametrize("body", [b"{", b'{"title": 1}'])
def test_a_malformed_request_is_not_counted(database, body):
    with (
        serve(settings(database.url, RATE_LIMIT_WRITE="1/60")) as url,
        Client(url, USER) as client,
    ):
        headers = {"content-type": "application/json"}
        assert client.post(PATH, content=body, headers=headers).status_code == 400
        assert client.post(PATH, json={}).status_code == 201


def test_requests_delete_expired_counts(database):
    database.rows(
        "insert into rate_limits (subject, scope, hits, expires_at)"
        " select 'user:' || gen_random_uuid(), 'write', '{}', now() - interval '1 second'"
        " from generate_series(1, 500)"
    )
    with (
        serve(settings(database.url, RATE_LIMIT_WRITE="999999/60")) as url,
        Client(url, USER) as client,
    ):
        # One request in a hundred deletes up to a hundred expired rows.
        for _ in range(3000):
            client.post(PATH, json={})
            if len(database.rows("select 1 from rate_limits")) <= 401:
                break
    assert len(database.rows("select 1 from rate_limits")) <= 401
