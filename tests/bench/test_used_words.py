import numpy as np
import pytest

from saywhy.bench.used_words import SAID, _row, _share, rows
from saywhy.types import BORNE_OUT, NOT_BORNE_OUT, NOT_TESTABLE


def test_a_row_counts_what_can_be_tested_apart() -> None:
    found = [(BORNE_OUT, True), (BORNE_OUT, False), (NOT_BORNE_OUT, True), (NOT_TESTABLE, True)]
    row = _row("aviary", SAID, found)
    assert (row["claims"], row["tested"], row["used"]) == (4, 3, 75.0)
    assert row["borne out"].startswith("50.0 ")  # of all that are said
    assert row["precision"].startswith("50.0 ")
    assert row["recall"].startswith("33.3 ")  # of all that are used
    assert row["recall of tested"].startswith("50.0 ")
    assert _share(np.zeros(0, bool)) == "-"


@pytest.mark.slow
def test_false_words_are_refused() -> None:
    found = {row["words"]: row for row in rows(4, 9_030_000) if row["world"] == "all"}
    assert found[SAID]["tested"] > 0
    for words, row in found.items():
        if words != SAID:
            assert float(row["borne out"].split()[0]) <= 25
