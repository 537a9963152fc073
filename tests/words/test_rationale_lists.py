"""Lists of rationales: empty, doubled, spelled in two ways, of two levels, and files that are none."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from saywhy.errors import SaywhyError
from saywhy.words.rationale_lists import Oddity, read_rationales
from saywhy.words.rationale_words import RationaleWords, Templates


def listed(words: RationaleWords) -> dict[str, list[str]]:
    return {c: [words.rationales[r] for r in some] for c, some in zip(words.categories, words.lists, strict=True)}


def kinds(oddities: Sequence[Oddity]) -> dict[str, int]:
    """Kind -> pictures left out."""
    counts: Counter[str] = Counter()
    for oddity in oddities:
        counts[oddity.kind] += oddity.skipped
    return dict(counts)


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_lists_are_as_said_and_in_the_files_order(tmp_path: Path) -> None:
    file = written(tmp_path / "r.json", json.dumps({"zebra": ["Black-and-white stripes"], "kit_fox": ["large ears"]}))
    templates = Templates(pair="{c}: {r}")
    words, oddities = read_rationales(file, templates)
    assert words.categories == ("zebra", "kit fox")
    assert words.rationales == ("black and white stripes", "large ears")
    assert words.pair_text(0, 1) == "zebra: large ears"
    assert not oddities


def test_empty_lists_stay_as_wrong_answers(tmp_path: Path) -> None:
    words, oddities = read_rationales(written(tmp_path / "r.json", '{"donuts": [], "cake": ["icing"]}'))
    assert listed(words) == {"donuts": [], "cake": ["icing"]}
    assert [(o.kind, o.where, o.skipped) for o in oddities] == [("empty list", "donuts", 0)]


def test_a_rationale_counts_once_however_often_it_is_listed(tmp_path: Path) -> None:
    lists = {"bolete": ["a spore-bearing stalk", "brown", "a spore bearing stalk", "brown"], "dog": ["Brown"]}
    words, oddities = read_rationales(written(tmp_path / "r.json", json.dumps(lists)))
    assert listed(words) == {"bolete": ["a spore bearing stalk", "brown"], "dog": ["brown"]}
    assert Counter(o.kind for o in oddities) == {"duplicate": 1, "same rationale": 2}
    assert [o.where for o in oddities if o.kind == "same rationale"] == ["a spore bearing stalk", "brown"]


@pytest.mark.parametrize("first", ["crane", "Crane"])
def test_categories_of_one_name_are_put_together(tmp_path: Path, first: str) -> None:
    """As of ImageNet's classes, of which 1000 have 997 names; Python's JSON would keep only the last."""
    text = f'{{"{first}": ["a long neck"], "crane": ["a hook"]}}'
    words, oddities = read_rationales(written(tmp_path / "r.json", text))
    assert listed(words) == {"crane": ["a long neck", "a hook"]}
    assert [o.kind for o in oddities] == ["same category"]


def test_lists_of_two_levels(tmp_path: Path) -> None:
    text = '{"airplane": [{"wings": ["long", "flat"]}, {"windows": []}], "dog": {"fur": ["long"]}, "cat": ["fur"]}'
    words, oddities = read_rationales(written(tmp_path / "r.json", text))
    assert listed(words) == {
        "airplane": ["wings, long", "wings, flat", "windows"],
        "dog": ["fur, long"],
        "cat": ["fur"],
    }
    assert not oddities


def test_lists_as_a_table(tmp_path: Path) -> None:
    file = written(tmp_path / "r.csv", '\ufeffRationale,Category\n"big, round eyes",owl\n,wall\nfeathers,owl\n')
    words, oddities = read_rationales(file)
    assert listed(words) == {"owl": ["big, round eyes", "feathers"], "wall": []}
    assert kinds(oddities) == {"empty list": 0}


def test_names_without_words_are_left_out(tmp_path: Path) -> None:
    words, oddities = read_rationales(written(tmp_path / "r.json", '{"owl": ["", "eyes", "-"], "_": ["x"]}'))
    assert listed(words) == {"owl": ["eyes"]}
    assert {(o.kind, o.where) for o in oddities} == {("no words", "owl"), ("no words", "r.json")}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("r.json", '{"owl": [', "not JSON"),
        ("r.json", '["owl"]', "from category to a list"),
        ("r.json", "{}", "from category to a list"),
        ("r.json", '{"owl": "eyes"}', "'owl': expected a list of rationales"),
        ("r.json", '{"owl": [3]}', "'owl': expected a list of rationales"),
        ("r.json", '{"owl": [{"eyes": 3}]}', "'eyes': expected a list of texts"),
        ("r.json", '{"owl": []}', "no rationale is listed for any"),
        ("r.csv", "category,reason\n", "it lacks rationale"),
        ("r.csv", "", "it lacks category, rationale"),
        ("r.csv", 'category,rationale\nowl,"eyes', "comma-separated"),
    ],
)
def test_wrong_lists(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(SaywhyError, match=message):
        read_rationales(written(tmp_path / name, text))


def test_lists_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SaywhyError, match="no such file"):
        read_rationales(tmp_path / "none.json")
    (tmp_path / "r.json").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(SaywhyError, match="not text in UTF-8"):
        read_rationales(tmp_path / "r.json")
