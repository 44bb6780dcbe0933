"""Anonymous users sign in, are isolated like other users, and can transfer their data to an account."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from uuid import UUID, uuid4

import httpx
import jwt
import pytest

from functions.conversations import app as conversations
from shared import auth
from shared.lambda_runtime.lifespan import Lifespan
from tests.functions.conversations.locks import conversations_locked
from tests.serving import SECRET, Client, serve, settings

USER = uuid4()
PATH = "/api/chat/conversations"


@pytest.fixture
def url(database):
    with serve(settings(database.url, ALLOW_ANONYMOUS="true", RATE_LIMIT_WRITE="999999/60")) as url:
        yield url


class AnonymousClient(Client):
    """A client that signs in as a new anonymous user."""

    def __init__(self, url):
        super().__init__(url)
        signed_in = httpx.post(f"{url}/auth/anonymous", trust_env=False).json()
        self.token, self.user_id = signed_in["token"], UUID(signed_in["user_id"])
        self.headers["authorization"] = f"Bearer {self.token}"


def create(client, **fields):
    return client.post(PATH, json=fields).json()["id"]


def claim(client, token):
    return client.post(f"{PATH}/claim", json={"token": token})


def ids(client):
    return {conversation["id"] for conversation in client.get(PATH).json()["conversations"]}


def test_an_anonymous_user_gets_a_token_for_30_days(url):
    with Client(url) as client:
        response = client.post("/auth/anonymous")
        body = response.json()
        claims = jwt.decode(body["token"], SECRET, algorithms=["HS256"])
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-store"
        assert set(body) == {"token", "user_id", "expires_at"}
        assert (claims["sub"], claims["is_anonymous"]) == (body["user_id"], True)
        assert claims["exp"] - claims["iat"] == 30 * 24 * 3600
        assert datetime.fromisoformat(body["expires_at"]).timestamp() == claims["exp"]
        assert client.post("/auth/anonymous").json()["user_id"] != body["user_id"]


def test_an_anonymous_token_has_the_required_issuer_and_audience(database):
    config = settings(database.url, ALLOW_ANONYMOUS="true", JWT_ISSUER="https://us", JWT_AUDIENCE="chat")
    with serve(config) as url, AnonymousClient(url) as client:
        assert client.get(PATH).status_code == 200


@pytest.mark.parametrize(
    "environ", [{"ALLOW_ANONYMOUS": "false"}, {"JWT_SECRET": "", "JWT_JWKS_URL": "http://127.0.0.1:9/keys"}]
)
def test_anonymous_sign_in_is_403_if_it_is_off_or_tokens_cannot_be_signed(database, environ):
    config = settings(database.url, **({"ALLOW_ANONYMOUS": "true"} | environ))
    with serve(config) as url, Client(url) as client:
        response = client.post("/auth/anonymous")
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")


def test_anonymous_users_use_the_same_routes_and_see_only_their_own_data(url):
    with AnonymousClient(url) as one, AnonymousClient(url) as other:
        mine = create(one, title="Mine")
        assert one.post(f"{PATH}/{mine}/messages", json={"role": "user", "content": "Hi"}).status_code == 201
        assert one.post("/chat-stream", json={"message": "Hi", "conversationId": mine}).status_code == 200
        assert ids(one) == {mine}
        assert ids(other) == set()
        assert other.get(f"{PATH}/{mine}").status_code == 404


def test_a_claim_moves_all_rows_once(url, database):
    with AnonymousClient(url) as anonymous, Client(url, USER) as client:
        own = create(client)
        created = [create(anonymous, title=str(n)) for n in range(3)]
        turn = anonymous.post("/chat-stream", json={"message": "Hi", "conversationId": created[0]})
        answer = turn.headers["x-message-id"]
        before = anonymous.get(f"{PATH}/{created[0]}").json()

        claimed = claim(client, anonymous.token)
        assert (claimed.status_code, claimed.json()) == (200, {"claimed": 3})
        assert ids(client) == {own, *created}
        assert ids(anonymous) == set()
        assert client.get(f"{PATH}/{created[0]}").json() == before | {"user_id": str(USER)}
        messages = client.get(f"{PATH}/{created[0]}/messages").json()["messages"]
        assert [message["role"] for message in messages] == ["user", "assistant"]
        assert client.get("/api/chat/usage").json()["totals"]["turns"] == 1
        assert anonymous.get("/api/chat/usage").json()["totals"]["turns"] == 0
        assert client.post(f"/api/chat/messages/{answer}/cancel").json()["status"] == "complete"
        # The new owner continues the conversation.
        question = {"message": "And now?", "conversationId": created[0]}
        assert client.post("/chat-stream", json=question).status_code == 200
        assert anonymous.post("/chat-stream", json=question).status_code == 404

        assert claim(client, anonymous.token).json() == {"claimed": 0}
        later = create(anonymous)
        assert claim(client, anonymous.token).json() == {"claimed": 1}
        assert later in ids(client)
    owners = {"conversations": 5, "messages": 4, "turns": 2, "usage_logs": 2}
    for table, count in owners.items():
        assert database.rows(f"select user_id, count(*) from {table} group by user_id") == [
            {"user_id": USER, "count": count}
        ]


def test_a_claim_works_if_both_users_used_the_same_idempotency_key(url):
    with AnonymousClient(url) as anonymous, Client(url, USER) as client:
        for asker in (anonymous, client):
            headers = {"idempotency-key": "first"}
            assert asker.post("/chat-stream", json={"message": "Hi"}, headers=headers).status_code == 200
        assert claim(client, anonymous.token).json() == {"claimed": 1}


def test_a_claim_adds_the_spending_of_today_to_the_budget_of_the_new_owner(database):
    config = settings(database.url, ALLOW_ANONYMOUS="true", BUDGET_USD_PER_DAY="1")
    with serve(config) as url, AnonymousClient(url) as anonymous, Client(url, USER) as client:
        for asker in (anonymous, client):
            assert asker.post("/chat-stream", json={"message": "Hi"}).status_code == 200
        # The scripted model is free, so the test sets a cost of 0.1 USD.
        database.rows("update usage_logs set cost_usd = 0.1")
        database.rows("update budgets set spent_usd = 0.1")
        assert claim(client, anonymous.token).json() == {"claimed": 1}
        assert claim(client, anonymous.token).json() == {"claimed": 0}
        budget = client.get("/api/chat/usage").json()["budget"]
    assert (budget["spent_usd"], budget["left_usd"]) == ("0.2", "0.8")


def test_one_of_several_parallel_claims_moves_all_rows(url, server, database):
    with AnonymousClient(url) as anonymous, ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            create(anonymous)
        clients = [Client(url, uuid4()) for _ in range(8)]
        with conversations_locked(server.url("postgres", database.name)) as wait_for_waiters:
            claims = [pool.submit(claim, client, anonymous.token) for client in clients]
            wait_for_waiters(8)
        claimed = sorted(each.result().json()["claimed"] for each in claims)
        for client in clients:
            client.close()
    assert claimed == [0] * 7 + [10]
    assert len(database.rows("select distinct user_id from conversations")) == 1


def test_a_claim_during_a_running_turn_is_409(database, mock):
    config = settings(
        database.url,
        ALLOW_ANONYMOUS="true",
        LLM_MODEL="openai/mock:tokens=10000,gap=50ms",
        OPENAI_API_KEY="key",
        OPENAI_BASE_URL=mock.base_url("openai"),
    )
    with serve(config) as url, AnonymousClient(url) as anonymous, Client(url, USER) as client:
        with anonymous.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
            refused = claim(client, anonymous.token)
            assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
            assert ids(client) == set()
            anonymous.post(f"/api/chat/messages/{response.headers['x-message-id']}/cancel")
            response.read()
        assert claim(client, anonymous.token).json() == {"claimed": 1}


def test_a_claim_needs_valid_tokens_of_both_users(url):
    forged = jwt.encode(
        {"sub": str(USER), "exp": 4e9, "is_anonymous": True}, "not the secret, but as long as it"
    )
    not_anonymous = auth.sign(uuid4(), secret=SECRET, now=time.time(), lifetime=60)
    expired = auth.sign(uuid4(), secret=SECRET, now=0, lifetime=60, is_anonymous=True)
    with AnonymousClient(url) as anonymous, Client(url, USER) as client, Client(url) as without_token:
        created = create(anonymous)
        for token in (
            forged,
            not_anonymous,
            expired,
            "nonsense",
            str(anonymous.user_id),
            f"Bearer {anonymous.token}",
        ):
            refused = claim(client, token)
            assert (refused.status_code, refused.json()["field"]) == (400, "token")
        assert claim(without_token, anonymous.token).status_code == 401
        with AnonymousClient(url) as other:
            assert claim(other, anonymous.token).status_code == 403
        assert ids(anonymous) == {created}


def test_the_rate_limit_of_sign_in_uses_the_address_of_the_connection(database):
    async def sign_in(app, host, count, headers=None):
        transport = httpx.ASGITransport(app, client=(host, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [await client.post("/auth/anonymous", headers=headers) for _ in range(count)]

    async def run():
        app = conversations.create_app(
            settings(database.url, ALLOW_ANONYMOUS="true", RATE_LIMIT_WRITE="2/60")
        )
        lifespan = Lifespan(app)
        await lifespan.startup()
        responses = {
            "one": await sign_in(app, "203.0.113.7", 3),
            "one with forged headers": await sign_in(
                app, "203.0.113.7", 1, {"x-forwarded-for": "203.0.113.8", "forwarded": "for=203.0.113.8"}
            ),
            "another": await sign_in(app, "203.0.113.8", 1),
            "one network": await sign_in(app, "2001:db8::1", 2) + await sign_in(app, "2001:db8::ffff:2", 1),
            "another network": await sign_in(app, "2001:db8:0:1::1", 1),
        }
        await lifespan.shutdown()
        return responses

    responses = asyncio.run(run())
    assert {sender: [each.status_code for each in sent] for sender, sent in responses.items()} == {
        "one": [200, 200, 429],
        "one with forged headers": [429],
        "another": [200],
        "one network": [200, 200, 429],
        "another network": [200],
    }
    refused = responses["one"][2]
    assert refused.headers["ratelimit-policy"] == '"sign_in";q=2;w=60'
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    subjects = [row["subject"] for row in database.rows("select subject from rate_limits")]
    assert len(subjects) == 4
    assert all(subject.startswith("address:") and len(subject) == 72 for subject in subjects)
