"""No budget is exceeded by any mix of turns that run at the same time, and of faults of models."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from shared import auth, costs
from shared.settings import load_settings
from tests.serving import SECRET, Client, mocked, serve

USERS = [uuid4(), uuid4()]
ANONYMOUS = [uuid4(), uuid4()]
LIMITS = {"user": Decimal("0.02"), "anonymous": Decimal("0.025"), "total": Decimal("0.04")}
FALLBACK = "nvidia/mock:tokens=30"  # its price is not known, so the assumed price counts
CHAT_STREAM = "/chat-stream"


class ManyUsersClient(httpx.Client):
    """A client that sends the token of another user with each request."""

    def ask(self, user_id: UUID, path: str, body: dict[str, object]) -> httpx.Response:
        token = auth.sign(
            user_id, secret=SECRET, now=1.7e9, lifetime=10**9, is_anonymous=user_id in ANONYMOUS
        )
        return self.post(path, json=body, headers={"authorization": f"Bearer {token}"})


def environment(database, mock, system_prompt):
    budgets = {
        "BUDGET_USD_PER_DAY": str(LIMITS["user"]),
        "BUDGET_USD_PER_DAY_ANONYMOUS": str(LIMITS["anonymous"]),
        "BUDGET_USD_PER_DAY_TOTAL": str(LIMITS["total"]),
    }
    allowed = {"LLM_ALLOWED_MODELS": "openai/*,anthropic/*,nvidia/*", "LLM_FALLBACK_MODELS": FALLBACK}
    short = {"LLM_START_TIMEOUT": "0.6", "LLM_FIRST_TOKEN_TIMEOUT": "0.5", "LLM_IDLE_TIMEOUT": "0.3"}
    environ = budgets | allowed | short | {"SYSTEM_PROMPT_FILE": str(system_prompt)}
    return mocked(database.url, mock, "openai/gpt-4.1", **environ)


def watch_limits(database):
    """Makes Postgres record each moment at which more is spent than a limit."""
    database.rows(
        f"""
        create table violations (subject text, spent_usd numeric);
        create function watch() returns trigger language plpgsql security definer as $$
        declare
            subject text := coalesce(to_jsonb(new) ->> 'subject', 'user');
        begin
            if new.spent_usd > ('{json.dumps(LIMITS, default=str)}'::jsonb ->> subject)::numeric then
                insert into public.violations values (subject, new.spent_usd);
            end if;
            return null;
        end $$;
        create trigger watch after insert or update on budgets for each row execute function watch();
        create trigger watch after insert or update on shared_budgets for each row execute function watch();
        """
    )


scripts = st.builds(
    lambda tokens, usage, fault, reports: ",".join([f"tokens={tokens}", usage, *reports, *fault]),
    # The mock does not obey max_tokens.
    st.sampled_from([30, 300, 3000]),
    st.sampled_from(["usage=default", "usage=none", "usage=every", "usage=end"]),
    st.sampled_from(
        [
            *[()] * 10,
            ("cut",),
            ("reset", "after=200"),
            ("truncate", "after=0"),
            ("error", "after=0"),
            ("error", "after=20"),
            ("bad-json", "after=0"),
            ("bad-json", "fail=1"),
            ("hang", "after=2"),
            ("no-body",),
            ("no-headers",),
            ("503", "fail=1"),
            ("error", "after=0", "fail=1"),
            ("429",),
            ("401",),
        ]
    ),
    st.sampled_from([(), ("input=900",), ("input=900", "cached=100", "cache_write=700")]),
)
models = st.builds(
    "{}:{}".format,
    st.sampled_from(["openai/gpt-4.1", "anthropic/claude-haiku-4-5", "nvidia/mock"]),
    scripts,
)
questions = st.builds("x".__mul__, st.sampled_from([1, 400, 4000]))
max_tokens = st.sampled_from([200, 300, 1000, 5000])
messages = st.builds(
    lambda *texts: [{"role": "user", "content": text} for text in texts], questions, questions
)
turns = st.one_of(
    st.tuples(
        st.just(CHAT_STREAM),
        st.fixed_dictionaries({"message": questions, "model": models, "maxTokens": max_tokens}),
    ),
    st.tuples(
        st.sampled_from(["/stream-chat", "/api/chat", "/v1/chat/completions"]),
        st.fixed_dictionaries({"messages": messages, "model": models, "max_tokens": max_tokens}),
    ),
    # A process that died after it had saved this text.
    st.tuples(st.just("killed"), st.fixed_dictionaries({"message": questions, "text": questions})),
)
mixes = st.lists(st.tuples(st.sampled_from(USERS + ANONYMOUS), turns), min_size=3, max_size=12)


def begin_and_die(database, user_id, body):
    fields = {
        "usd_per_input": Decimal("0.000002"),
        "usd_per_output": Decimal("0.000008"),
        "prices": costs.upper_prices(("openai/gpt-4.1",)),
        "budget": LIMITS["user"],
        "budget_anonymous": LIMITS["anonymous"] if user_id in ANONYMOUS else 0,
        "budget_total": LIMITS["total"],
        "rate_limit": 1000,
        "question": body["message"],
    }
    started = database.begin_turn(user_id, lease="-1 second", **fields)
    if started["outcome"] == "started":
        database.call(
            "checkpoint_turn",
            user_id=user_id,
            answer_id=started["answer_id"],
            content=body["text"],
            lease="-1 s",
        )


@pytest.fixture
def watched(database, mock, tmp_path):
    watch_limits(database)
    prompt = tmp_path / "prompt.md"
    prompt.write_text("Be brief.")
    with serve(load_settings(environment(database, mock, prompt))) as url:
        yield database, url


@examples(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(mixes)
def test_no_mix_of_parallel_turns_exceeds_a_budget(watched, mix):
    database, url = watched
    database.rows("truncate budgets, shared_budgets, usage_logs, turns, conversations, messages, rate_limits")
    with ManyUsersClient(base_url=url, timeout=30, trust_env=False) as client, ThreadPoolExecutor(12) as pool:

        def run(user_id, turn):
            path, body = turn
            if path == "killed":
                begin_and_die(database, user_id, body)
                return 200
            return client.ask(user_id, path, body).status_code

        statuses = list(pool.map(lambda each: run(*each), mix))
    assert set(statuses) <= {200, 409, 429, 502}
    for user_id in USERS + ANONYMOUS:
        database.call("begin_request", user_id=user_id)  # settles the turns of killed processes
    assert database.rows("select * from violations") == []
    spent = {
        row["user_id"]: row["usd"]
        for row in database.rows("select user_id, sum(cost_usd) as usd from usage_logs group by user_id")
    }
    for row in database.rows("select * from budgets"):
        assert (row["reserved_usd"], row["spent_usd"]) == (0, spent.get(row["user_id"], 0))
    sums = {"total": sum(spent.values()), "anonymous": sum(spent.get(user_id, 0) for user_id in ANONYMOUS)}
    for row in database.rows("select * from shared_budgets"):
        assert (row["reserved_usd"], row["spent_usd"]) == (0, sums[row["subject"]])


def test_twenty_parallel_turns_of_40000_tokens_stay_within_one_dollar(database, mock):
    environ = mocked(
        database.url,
        mock,
        "anthropic/claude-sonnet-5-5:tokens=40000",
        BUDGET_USD_PER_DAY="1",
        LLM_START_TIMEOUT="25",
    )
    user_id, started = uuid4(), threading.Barrier(20)
    with serve(load_settings(environ)) as url, ThreadPoolExecutor(20) as pool:

        def ask(_: int) -> httpx.Response:
            with Client(url, user_id) as client:
                started.wait()
                return client.post(CHAT_STREAM, json={"message": "Hi", "maxTokens": 40_000})

        answers = list(pool.map(ask, range(20)))
    [budget] = database.rows("select * from budgets")
    assert budget["reserved_usd"] == 0
    assert Decimal("0.5") < budget["spent_usd"] <= 1
    paid = [answer for answer in answers if answer.status_code == 200]
    assert {answer.json()["code"] for answer in answers if answer.status_code != 200} == {"budget_exceeded"}
    # Two whole answers fit, and a part of a third one.
    assert sorted('"limit":"budget"' in answer.text for answer in paid)[:3] == [False, False, True]
