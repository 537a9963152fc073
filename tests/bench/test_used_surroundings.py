import numpy as np
import pytest

from saywhy.bench import used_surroundings
from saywhy.bench.used_surroundings import COLUMNS, SIDE, run
from saywhy.worlds.aviary import SPECIES, render
from saywhy.worlds.planted import PLANTS


def test_what_is_swapped_is_all_around_the_bird_with_the_letter_or_without() -> None:
    letter = render(next(iter(SPECIES)), 9_000_000, SIDE, "sand", watermark="A")
    other = render(next(iter(SPECIES)), 9_000_001, SIDE, "snow")
    shown, lent = np.asarray(letter.image), np.asarray(other.image)
    stamped = letter.parts == len(used_surroundings.PARTS) - 1
    free = (letter.parts == 0) & (other.parts == 0)
    for keeps in (True, False):
        made = np.asarray(used_surroundings._around(letter, other, letter=keeps))
        bird = (letter.parts > 0) & ~stamped
        assert (made[bird] == shown[bird]).all()
        assert (
            made[stamped & (other.parts == 0)] == (shown if keeps else lent)[stamped & (other.parts == 0)]
        ).mean() > 0.9
        assert (made[free] == lent[free]).mean() > 0.9  # all but the rims


@pytest.mark.slow
def test_the_planted_background_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(used_surroundings, "PLANTS", {"background": PLANTS["background"]})
    report = run(12, seed="9000000")
    rows = {(row["world"], row["object"], row["passes"]): row for row in report.rows}
    assert set().union(*report.rows) <= set(COLUMNS)
    planted = rows["planted", "found", used_surroundings.FAST]
    assert planted["pictures"] >= 6
    assert planted["used"] == 100
    assert planted["borne out"].startswith("100.0")
    assert {"null: its own", "null: same kind"} <= {world for world, _, _ in rows}
