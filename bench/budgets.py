"""Prints the cost of BUDGET_USD_PER_DAY_TOTAL for `docs/performance.md`: all turns lock one row.

64 users begin and finish turns at the same time, with the statements of a stateless turn, each over a
connection of its own. Rounds with and without the total budget take turns.
"""

import random
import statistics
import sys
import threading
import time
from collections.abc import Mapping
from decimal import Decimal
from uuid import uuid4

import psycopg
from msgspec import Struct

from bench import servers
from dev import postgres
from shared import costs
from shared.db import json_argument

_USERS = 64
_MODEL = "openai/gpt-6.1-terra"
_BUDGETS: Mapping[str, dict[str, Decimal]] = {
    "no budget": {"budget": Decimal(0), "budget_total": Decimal(0)},
    "a budget for each user": {"budget": Decimal(100), "budget_total": Decimal(0)},
    "a budget for each user and a total": {"budget": Decimal(100), "budget_total": Decimal(100_000)},
}


def _begin(budgets: Mapping[str, Decimal], user_id: str, answer_id: str) -> str:
    return json_argument(
        {
            "user_id": user_id,
            "answer_id": answer_id,
            "model": _MODEL,
            "prompt_tokens": 500,
            "prompt_bytes": 2000,
            "fixed_bytes": 1000,
            "max_tokens": 4096,
            "usd_per_input": Decimal("0.000001"),
            "usd_per_output": Decimal("0.000005"),
            "priced": True,
            "prices": costs.upper_prices((_MODEL,)),
            "lease": "15 seconds",
            "rate_limit": 1_000_000,
            "rate_window": 1,
            "budget_anonymous": Decimal(0),
            **budgets,
        }
    )


def _finish(user_id: str, answer_id: str) -> str:
    usage = {
        "id": uuid4(),
        "provider": "openai",
        "model": "gpt-6.1-terra",
        "tokens_in": 500,
        "tokens_out": 200,
    }
    usage |= {"cost_usd": "0.0015", "priced": True, "status": "complete", "duration_ms": 3000}
    request = {"user_id": user_id, "answer_id": answer_id, "status": "complete", "content": "Well."}
    return json_argument(request | {"token_count": 200, "metadata": {}, "usage": [usage]})


class Load(Struct, frozen=True):
    """`pause`: the mean seconds before each of the two statements of a turn, as if a model answered."""

    budgets: Mapping[str, Decimal]
    turns: int
    pause: float


class Waits(Struct, frozen=True):
    """How long a turn waits for Postgres in ms, and the turns in a second."""

    median: float
    p99: float
    turns_per_second: float


def _user(url: str, load: Load, start: threading.Barrier, times: list[float]) -> None:
    """Appends the milliseconds of the two statements of each turn."""
    user_id = str(uuid4())
    pauses = random.Random(user_id)
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        start.wait()
        for _ in range(load.turns):
            answer_id = str(uuid4())
            spent = 0.0
            for query, argument in (
                ("select app.begin_stateless_turn(%s)::text", _begin(load.budgets, user_id, answer_id)),
                ("select app.finish_turn(%s)", _finish(user_id, answer_id)),
            ):
                time.sleep(pauses.uniform(0, 2 * load.pause))
                began = time.perf_counter()
                connection.execute(query, (argument,))
                spent += time.perf_counter() - began
            times.append(spent * 1000)


def measure(url: str, load: Load) -> Waits:
    times: list[float] = []
    start = threading.Barrier(_USERS + 1)
    users = [threading.Thread(target=_user, args=(url, load, start, times)) for _ in range(_USERS)]
    for user in users:
        user.start()
    start.wait()
    began = time.perf_counter()
    for user in users:
        user.join()
    took = time.perf_counter() - began
    return Waits(statistics.median(times), statistics.quantiles(times, n=100)[98], len(times) / took)


def main(rounds: int) -> None:
    results: dict[tuple[float, str], list[Waits]] = {}
    with servers.database() as server:
        for _ in range(rounds):
            for pause in (0.0, 1.0):
                for name, budgets in _BUDGETS.items():
                    load = Load(budgets, turns=4 if pause else 20, pause=pause)
                    results.setdefault((pause, name), []).append(measure(server.url(postgres.APP), load))
    print(
        "| 64 parallel turns | a turn waits for Postgres, p50 / p99 | turns a second |\n| --- | --- | --- |"
    )
    for (pause, name), found in sorted(results.items(), key=lambda item: item[0][0]):
        median, p99, rate = (
            statistics.median(getattr(waits, field) for waits in found) for field in Waits.__struct_fields__
        )
        answers = "answers of 1 s" if pause else "answers of 0 s"
        print(f"| {answers}, {name} | {median:.1f} / {p99:.0f} ms | {rate:.0f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
