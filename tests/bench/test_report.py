"""The page and the plot of a run."""

import xml.etree.ElementTree as ET

import pytest

from bench import plot, report
from bench.processes import Usage
from bench.results import FullSpeed, Paced, Results, Row, Spread
from bench.run import DIRECT, LITELLM, RELAY, STORED
from bench.statements import Counts


@pytest.fixture
def results():
    paced = Paced(40, 15_050, 0, Spread(1, 9), 60)
    return Results(
        date="2026-01-01",
        machine="two cores",
        versions={"python": "3.11"},
        rows={
            DIRECT: Row(first_token=Spread(0.2, 0.3), added=Spread(0, 0), full_speed=FullSpeed(0.5, 1e6, 0)),
            RELAY: Row(
                first_token=Spread(1.2, 2.3), added=Spread(1, 2), full_speed=FullSpeed(16, 5e4, 0), peak=60
            ),
            STORED: Row(
                first_token=Spread(2.7, 5.3),
                added=Spread(2.5, 5),
                full_speed=FullSpeed(8, 5e4, 0),
                paced=paced,
            ),
            LITELLM: Row(
                first_token=Spread(20, 25), added=Spread(19.8, 24.7), full_speed=FullSpeed(559, 1e3, 3)
            ),
        },
        statements={STORED: Counts(1, 1, 1, 1)},
        overhead={"provider": 0.1, "load": 0.2},
        endurance={2_000: Usage(60.1, 61, 20), 20_000: Usage(60.2, 61, 20)},
        encoders={"/chat-stream": 1_000_000},
        page=[("first paint", "100 ms")],
    )


def test_the_table_has_each_subject_with_its_figures_and_how_they_compare(results):
    table = report.markdown(results)
    assert f"| {STORED} | 2.50 / 5.00 ms (2.5 x) | 8.0 (0.5 x) | 15.1k; 1.00 / 9.00 ms; 40 |  |  |" in table
    assert f"| {RELAY} | 1.00 / 2.00 ms | 16.0 |  |  | 60 MiB |" in table
    assert "559 (34.9 x); 3 turns failed" in table
    assert "| `/chat-stream` | 1,000,000 | 1.00 |" in table
    assert "| first paint | 100 ms |" in table
    assert "after 2,000 turns with 32 streams: 60.1 MiB" in table


def test_a_run_replaces_what_the_last_one_wrote(results, tmp_path):
    page, readme = tmp_path / "performance.md", tmp_path / "README.md"
    for each in (page, readme):
        each.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", "utf-8")
    for _ in range(2):
        report.update(results, page, readme)
    assert (
        page.read_text("utf-8")
        == f"before\n{report.BEGIN}\n{report.markdown(results)}\n{report.END}\nafter\n"
    )
    begun, _, ended = readme.read_text("utf-8").partition(
        f"| {RELAY} | 1.00 / 2.00 ms | 16.0 |  |  | 60 MiB |"
    )
    assert begun.startswith(f"before\n{report.BEGIN}\n| ")
    assert ended.endswith(f" |\n{report.END}\nafter\n")


def test_the_plot_is_an_image_with_each_subject_but_the_base(results):
    root = ET.fromstring(plot.svg(results))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {RELAY, STORED, LITELLM} <= set(texts)
    assert DIRECT not in texts
    dots = list(root.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(dots) == 3 * 2 + 3 + 2  # first token with its worst, CPU, and one subject's paced streams
    assert all(290 <= float(dot.attrib["cx"]) <= 290 + 3 * 270 for dot in dots)
