"""``saywhy query``, and how far long work is."""

import json
import time
from pathlib import Path

import pytest

from saywhy.cli import console
from tests.cli.test_app import saywhy

KEPT = Path(__file__).parents[1] / "audits" / "data" / "format-1"


def test_a_query_gives_a_table_json_or_csv() -> None:
    query = "SELECT number, truth, metadata, relevance, NULL AS none FROM pictures ORDER BY number LIMIT 2"
    table = saywhy("query", KEPT, query).stdout
    assert table.split()[:5] == ["number", "truth", "metadata", "relevance", "none"]
    assert "Kingfisher" in table
    rows = [json.loads(line) for line in saywhy("query", KEPT, query, "--json").stdout.splitlines()]
    assert [row["number"] for row in rows] == [0, 1]
    assert rows[0]["metadata"] == {"year": "2024"}
    assert rows[0]["relevance"] == "512 bytes"
    csv = saywhy("query", KEPT, query, "--csv").stdout.splitlines()
    assert csv[0] == "number,truth,metadata,relevance,none"
    assert csv[1].startswith('0,Brown-crowned Kingfisher,"{""year"": ""2024""}",512 bytes,')


def test_long_tables_are_cut_and_say_so() -> None:
    found = saywhy("query", KEPT, "FROM pictures", "--most", "2")
    assert "2 of 5 rows" in found.stderr


@pytest.mark.parametrize(
    "query", ["SELECT nothing FROM pictures", "COPY pictures TO 'x.csv'", "FROM read_csv('/etc/passwd')", "SELEKT"]
)
def test_what_cannot_be_asked_ends_in_a_line(query: str) -> None:
    found = saywhy("query", KEPT, query)
    assert found.returncode == 2
    assert found.stderr.startswith("saywhy: the query cannot be answered: ")
    assert not found.stdout


def test_a_line_now_and_then_tells_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now, said = [0.0], list[str]()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(console.errors, "print", lambda text, **how: said.append(text))
    with console.rated_bar("describing", 20_000) as advance:
        for _ in range(100):
            now[0] += 1
            advance(4)
    assert len(said) == 3
    assert said[0] == "describing: 120 of 20,000, 4.0 a second, 1 h 23 min left"
