"""The benchmark of two workers over one."""

import pytest

from saywhy import SaywhyError
from saywhy.bench import run_benchmark


def test_too_few_chunks_are_refused() -> None:
    for chunks in ("3", "many"):
        with pytest.raises(SaywhyError, match="--chunks"):
            run_benchmark("audit-ray", 1, chunks=chunks)


@pytest.mark.slow
def test_one_round() -> None:
    pytest.importorskip("ray")
    document = run_benchmark("audit-ray", 1, chunks="4").document()
    assert [row["what"] for row in document["rows"]] == ["here", "1 worker", "2 workers"]
    assert document["median ratio"] > 0
