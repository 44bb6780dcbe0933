"""Users without an account: signed in, isolated like all others, and taken over once they have one."""

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


class Anonymous(Client):
    def __init__(self, url):
        super().__init__(url)
        said = httpx.post(f"{url}/auth/anonymous", trust_env=False).json()
        self.token, self.user_id = said["token"], UUID(said["user_id"])
        self.headers["authorization"] = f"Bearer {self.token}"


def make(client, **said):
    return client.post(PATH, json=said).json()["id"]


def claim(client, token):
    return client.post(f"{PATH}/claim", json={"token": token})


def ids(client):
    return {conversation["id"] for conversation in client.get(PATH).json()["conversations"]}


def test_an_anonymous_user_gets_a_token_for_30_days(url):
    with Client(url) as client:
        response = client.post("/auth/anonymous")
        said = response.json()
        claims = jwt.decode(said["token"], SECRET, algorithms=["HS256"])
        assert response.status_code == 200
        assert response.headers["cache-control"] == "no-store"
        assert set(said) == {"token", "user_id", "expires_at"}
        assert (claims["sub"], claims["is_anonymous"]) == (said["user_id"], True)
        assert claims["exp"] - claims["iat"] == 30 * 24 * 3600
        assert datetime.fromisoformat(said["expires_at"]).timestamp() == claims["exp"]
        assert client.post("/auth/anonymous").json()["user_id"] != said["user_id"]


def test_the_token_names_the_issuer_and_audience_that_are_demanded(database):
    configured = settings(database.url, ALLOW_ANONYMOUS="true", JWT_ISSUER="https://us", JWT_AUDIENCE="chat")
    with serve(configured) as url, Anonymous(url) as client:
        assert client.get(PATH).status_code == 200


@pytest.mark.parametrize(
    "environ", [{"ALLOW_ANONYMOUS": "false"}, {"JWT_SECRET": "", "JWT_JWKS_URL": "http://127.0.0.1:9/keys"}]
)
def test_where_it_is_not_allowed_or_cannot_be_signed_it_is_403(database, environ):
    configured = settings(database.url, **({"ALLOW_ANONYMOUS": "true"} | environ))
    with serve(configured) as url, Client(url) as client:
        response = client.post("/auth/anonymous")
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")


def test_anonymous_users_have_the_same_routes_and_the_same_isolation(url):
    with Anonymous(url) as one, Anonymous(url) as other:
        mine = make(one, title="Mine")
        assert one.post(f"{PATH}/{mine}/messages", json={"role": "user", "content": "Hi"}).status_code == 201
        assert one.post("/chat-stream", json={"message": "Hi", "conversationId": mine}).status_code == 200
        assert ids(one) == {mine}
        assert ids(other) == set()
        assert other.get(f"{PATH}/{mine}").status_code == 404


def test_a_claim_moves_everything_once(url, database):
    with Anonymous(url) as former, Client(url, USER) as client:
        own = make(client)
        made = [make(former, title=str(n)) for n in range(3)]
        turn = former.post("/chat-stream", json={"message": "Hi", "conversationId": made[0]})
        answer = turn.headers["x-message-id"]
        before = former.get(f"{PATH}/{made[0]}").json()

        claimed = claim(client, former.token)
        assert (claimed.status_code, claimed.json()) == (200, {"claimed": 3})
        assert ids(client) == {own, *made}
        assert ids(former) == set()
        assert client.get(f"{PATH}/{made[0]}").json() == before | {"user_id": str(USER)}
        messages = client.get(f"{PATH}/{made[0]}/messages").json()["messages"]
        assert [message["role"] for message in messages] == ["user", "assistant"]
        assert client.get("/api/chat/usage").json()["totals"]["turns"] == 1
        assert former.get("/api/chat/usage").json()["totals"]["turns"] == 0
        assert client.post(f"/api/chat/messages/{answer}/cancel").json()["status"] == "complete"
        # And the conversation goes on.
        said = {"message": "And now?", "conversationId": made[0]}
        assert client.post("/chat-stream", json=said).status_code == 200
        assert former.post("/chat-stream", json=said).status_code == 404

        assert claim(client, former.token).json() == {"claimed": 0}
        later = make(former)
        assert claim(client, former.token).json() == {"claimed": 1}
        assert later in ids(client)
    owners = {"conversations": 5, "messages": 4, "turns": 2, "usage_logs": 2}
    for table, count in owners.items():
        assert database.rows(f"select user_id, count(*) from {table} group by user_id") == [
            {"user_id": USER, "count": count}
        ]


def test_keys_of_both_users_may_be_the_same(url):
    with Anonymous(url) as former, Client(url, USER) as client:
        for asking in (former, client):
            headers = {"idempotency-key": "first"}
            assert asking.post("/chat-stream", json={"message": "Hi"}, headers=headers).status_code == 200
        assert claim(client, former.token).json() == {"claimed": 1}


def test_what_was_spent_today_counts_against_the_budget_of_whoever_claims(database):
    configured = settings(database.url, ALLOW_ANONYMOUS="true", BUDGET_USD_PER_DAY="1")
    with serve(configured) as url, Anonymous(url) as former, Client(url, USER) as client:
        for asking in (former, client):
            assert asking.post("/chat-stream", json={"message": "Hi"}).status_code == 200
        # The scripted model is free: as if it had cost a tenth.
        database.rows("update usage_logs set cost_usd = 0.1")
        database.rows("update budgets set spent_usd = 0.1")
        assert claim(client, former.token).json() == {"claimed": 1}
        assert claim(client, former.token).json() == {"claimed": 0}
        budget = client.get("/api/chat/usage").json()["budget"]
    assert (budget["spent_usd"], budget["left_usd"]) == ("0.2", "0.8")


def test_of_parallel_claims_one_moves_all(url, server, database):
    with Anonymous(url) as former, ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            make(former)
        clients = [Client(url, uuid4()) for _ in range(8)]
        with conversations_locked(server.url("postgres", database.name)) as waiting:
            claims = [pool.submit(claim, client, former.token) for client in clients]
            waiting(8)
        claimed = sorted(each.result().json()["claimed"] for each in claims)
        for client in clients:
            client.close()
    assert claimed == [0] * 7 + [10]
    assert len(database.rows("select distinct user_id from conversations")) == 1


def test_while_an_answer_is_written_nothing_is_claimed(database, mock):
    configured = settings(
        database.url,
        ALLOW_ANONYMOUS="true",
        LLM_MODEL="openai/mock:tokens=10000,gap=50ms",
        OPENAI_API_KEY="key",
        OPENAI_BASE_URL=mock.base_url("openai"),
    )
    with serve(configured) as url, Anonymous(url) as former, Client(url, USER) as client:
        with former.stream("POST", "/chat-stream", json={"message": "Hi"}) as response:
            refused = claim(client, former.token)
            assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
            assert ids(client) == set()
            former.post(f"/api/chat/messages/{response.headers['x-message-id']}/cancel")
            response.read()
        assert claim(client, former.token).json() == {"claimed": 1}


def test_only_whoever_holds_both_tokens_can_claim(url):
    forged = jwt.encode(
        {"sub": str(USER), "exp": 4e9, "is_anonymous": True}, "not the secret, but as long as it"
    )
    someone = auth.sign(uuid4(), secret=SECRET, now=time.time(), lifetime=60)
    expired = auth.sign(uuid4(), secret=SECRET, now=0, lifetime=60, is_anonymous=True)
    with Anonymous(url) as former, Client(url, USER) as client, Client(url) as nobody:
        made = make(former)
        for token in (forged, someone, expired, "nonsense", str(former.user_id), f"Bearer {former.token}"):
            refused = claim(client, token)
            assert (refused.status_code, refused.json()["field"]) == (400, "token")
        assert claim(nobody, former.token).status_code == 401
        with Anonymous(url) as other:
            assert claim(other, former.token).status_code == 403
        assert ids(former) == {made}


def test_sign_in_is_limited_by_the_address_that_the_front_door_saw(database):
    async def sign_in(app, host, count, headers=None):
        transport = httpx.ASGITransport(app, client=(host, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [await client.post("/auth/anonymous", headers=headers) for _ in range(count)]

    async def run():
        app = conversations.create_app(
            settings(database.url, ALLOW_ANONYMOUS="true", RATE_LIMIT_WRITE="2/60")
        )
        life = Lifespan(app)
        await life.startup()
        answers = {
            "one": await sign_in(app, "203.0.113.7", 3),
            "claiming to be another": await sign_in(
                app, "203.0.113.7", 1, {"x-forwarded-for": "203.0.113.8", "forwarded": "for=203.0.113.8"}
            ),
            "another": await sign_in(app, "203.0.113.8", 1),
            "one network": await sign_in(app, "2001:db8::1", 2) + await sign_in(app, "2001:db8::ffff:2", 1),
            "another network": await sign_in(app, "2001:db8:0:1::1", 1),
        }
        await life.shutdown()
        return answers

    answers = asyncio.run(run())
    assert {who: [a.status_code for a in several] for who, several in answers.items()} == {
        "one": [200, 200, 429],
        "claiming to be another": [429],
        "another": [200],
        "one network": [200, 200, 429],
        "another network": [200],
    }
    refused = answers["one"][2]
    assert refused.headers["ratelimit-policy"] == '"sign_in";q=2;w=60'
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    subjects = [row["subject"] for row in database.rows("select subject from rate_limits")]
    assert len(subjects) == 4
    assert all(subject.startswith("address:") and len(subject) == 72 for subject in subjects)
