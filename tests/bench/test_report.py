"""The tables of a benchmark run."""

import pytest

from bench import report
from bench.processes import Usage
from bench.results import Paced, Results, Row, Spread, Throughput
from bench.run import DIRECT, LITELLM, RELAY, STORED
from bench.statements import Counts


@pytest.fixture
def results():
    paced = Paced(Throughput(40, 15_050, 0), Spread(1, 9))
    return Results(
        date="2026-01-01",
        machine="two cores",
        versions={"python": "3.11"},
        rows={
            DIRECT: Row(first_token=Spread(0.2, 0.3), added=Spread(0, 0), full_speed=Throughput(0.5, 1e6, 0)),
            RELAY: Row(
                first_token=Spread(1.2, 2.3), added=Spread(1, 2), full_speed=Throughput(16, 5e4, 0), peak=60
            ),
            STORED: Row(
                first_token=Spread(2.7, 5.3),
                added=Spread(2.5, 5),
                full_speed=Throughput(8, 5e4, 0),
                paced=paced,
            ),
            LITELLM: Row(
                first_token=Spread(20, 25), added=Spread(19.8, 24.7), full_speed=Throughput(559, 1e3, 3)
            ),
        },
        statements={STORED: Counts(1, 1, 1, 1)},
        overhead={"provider": 0.1, "load": 0.2},
        endurance={2_000: Usage(60.1, 61, 20), 20_000: Usage(60.2, 61, 20)},
        encoders={"/chat-stream": 1_000_000},
        page=[("first paint", "100 ms")],
    )


def test_the_table_has_the_figures_of_each_server_and_the_ratio_to_the_relay(results):
    table = report.markdown(results)
    assert f"| {STORED} | 2.50 / 5.00 ms (2.5 x) | 8.0 (0.5 x) | 15.1k; 1.00 / 9.00 ms; 40 |  |  |" in table
    assert f"| {RELAY} | 1.00 / 2.00 ms | 16.0 |  |  | 60 MiB |" in table
    assert "559 (34.9 x); 3 turns failed" in table
    assert "| `/chat-stream` | 1,000,000 | 1.00 |" in table
    assert "| first paint | 100 ms |" in table
    assert "60.1 MiB and 20 descriptors after 2,000 turns with 32 streams" in table


def test_a_run_replaces_the_results_of_the_last_run(results, tmp_path):
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", "utf-8")
    for _ in range(2):
        report.update(results, page)
    assert (
        page.read_text("utf-8")
        == f"before\n{report.BEGIN}\n{report.markdown(results)}\n{report.END}\nafter\n"
    )
