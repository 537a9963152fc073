"""Caption metrics: worked by hand, against the package's own path, and against published numbers."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from saywhy.errors import SaywhyError
from saywhy.metrics import caption_scores as module
from saywhy.metrics.caption_scores import NAMES, MetricWarning, caption_metrics, tokenize
from saywhy.words.caption_files import read_magic

WANTED = {
    "1": ["a cat sleeps on a red mat", "the cat is asleep"],
    "2": ["two dogs run along the wet beach"],
    "3": ["an old man reads his newspaper"],
}
QUICK = ("B@4", "CIDEr", "ROUGE-L")  # METEOR takes ten seconds to start


@pytest.fixture
def _scorers() -> None:
    pytest.importorskip("pycocoevalcap", reason="needs the optional package pycocoevalcap")
    if not shutil.which("java"):
        pytest.skip("needs Java")


@pytest.mark.usefixtures("_scorers")
class TestScores:
    def test_a_perfect_caption_has_the_full_score(self) -> None:
        scores = caption_metrics({i: texts[0] for i, texts in WANTED.items()}, WANTED)  # METEOR, too
        assert list(scores) == ["B@4", "METEOR", "CIDEr", "ROUGE-L"]
        assert scores["B@4"] == pytest.approx(100)
        assert scores["METEOR"] == pytest.approx(100)
        assert scores["ROUGE-L"] == pytest.approx(100)
        # CIDEr is 10 times the mean cosine over references and lengths 1 to 4, idf = log(3 / pictures that have it).
        # Pictures 2 and 3 have one reference: 10 each. Picture 1 has two: half of 10, and what the second shares.
        assert 100 * (10 + 10 + 5) / 3 < scores["CIDEr"] < 100 * (10 + 10 + 7) / 3

    def test_cider_by_hand(self) -> None:
        wanted = {"1": ["a b c d"], "2": ["e f g h"]}
        assert caption_metrics({"1": "a b c d", "2": "x y z w"}, wanted, ["CIDEr"]) == {"CIDEr": pytest.approx(500)}
        assert caption_metrics({"1": "a b c d"}, {"1": ["a b c d"]}, ["CIDEr"])["CIDEr"] == 0  # idf = log(1 / 1)

    def test_bleu_by_hand(self) -> None:
        found, wanted = {"1": "the cat sat on the mat"}, {"1": ["the cat sat on a mat"]}
        # 5 of 6 words (one "the" too many), 3 of 5 pairs, 2 of 4 triples, 1 of 3 quadruples; equal length: no penalty
        expected = 100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
        assert caption_metrics(found, wanted, ["B@4"])["B@4"] == pytest.approx(expected, rel=1e-6)

    def test_rouge_by_hand(self) -> None:
        # The longest common subsequence is "a dog runs": precision 3/4, recall 3/3, F with beta 1.2.
        found, wanted = {"1": "a big dog runs"}, {"1": ["a dog runs"]}
        expected = 100 * (1 + 1.44) * 0.75 / (1 + 1.44 * 0.75)
        assert caption_metrics(found, wanted, ["ROUGE-L"])["ROUGE-L"] == pytest.approx(expected)

    def test_case_and_punctuation_do_not_count(self) -> None:
        loud = {"1": "A CAT sleeps, on a red mat!", "2": "Two dogs run along the wet beach...", "3": "An old man reads"}
        plain = {"1": "a cat sleeps on a red mat", "2": "two dogs run along the wet beach", "3": "an old man reads"}
        assert caption_metrics(loud, WANTED, QUICK) == caption_metrics(plain, WANTED, QUICK)

    def test_an_empty_caption_and_strange_characters_score_without_an_error(self) -> None:
        found = {"1": "", "2": "line one\nline\u2028two \r three ||| 犬", "3": "..."}
        with warnings.catch_warnings():
            warnings.simplefilter("error", MetricWarning)
            scores = caption_metrics(found, WANTED)
        assert set(scores) == set(NAMES[:4])
        assert all(0 <= value < 10 for value in scores.values())

    def test_the_order_of_pictures_does_not_count(self) -> None:
        found = {"1": "a cat on a mat", "2": "dogs run", "3": "a man reads his newspaper"}
        forth = caption_metrics(found, WANTED, QUICK)
        assert caption_metrics(dict(reversed(found.items())), WANTED, QUICK) == pytest.approx(forth)

    def test_without_its_download_spice_alone_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "spice_is_here", lambda: False)
        monkeypatch.setattr(module, "reachable", lambda url: False)
        with pytest.warns(MetricWarning, match=r"SPICE is left out: it downloads .* cannot be reached"):
            scores = caption_metrics({i: texts[0] for i, texts in WANTED.items()}, WANTED, ("SPICE", "B@4"))
        assert scores == {"B@4": pytest.approx(100)}

    def test_a_scorer_that_breaks_does_not_take_the_others_along(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from pycocoevalcap.meteor.meteor import Meteor

        def die(self: Meteor, *_: object) -> str:
            self.meteor_p.kill()
            return self.meteor_p.stdout.readline().decode()

        monkeypatch.setattr(Meteor, "_stat", die)
        with pytest.warns(MetricWarning, match="METEOR is left out: its Java program stopped"):
            scores = caption_metrics({i: texts[0] for i, texts in WANTED.items()}, WANTED, ("METEOR", "B@4"))
        assert set(scores) == {"B@4"}

    def test_tokens_are_those_of_the_package(self, pack: Path) -> None:
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

        folder = Path(sys.modules[PTBTokenizer.__module__].__file__ or "").parent
        try:
            (folder / "saywhy-probe").touch()
            (folder / "saywhy-probe").unlink()
        except OSError:
            pytest.skip("the package's own tokenizer writes into its folder, which is read-only here")
        captions = read_magic(pack / "text" / "captions" / "coco_zerocap_result.json")[1]
        some = {key: list(texts) for key, texts in list(captions.items())[:200]}
        theirs = PTBTokenizer().tokenize({key: [{"caption": text} for text in texts] for key, texts in some.items()})
        ours = tokenize([text for texts in some.values() for text in texts])
        assert ours == [text for texts in theirs.values() for text in texts]

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("file", "published"),
        [
            ("zerocap", {"B@4": 7.0, "METEOR": 15.4, "CIDEr": 34.5, "ROUGE-L": 31.8}),
            ("magic", {"B@4": 12.9, "METEOR": 17.4, "CIDEr": 49.3, "ROUGE-L": 39.9}),
        ],
    )
    def test_published_captions_have_their_published_scores(
        self, pack: Path, file: str, published: dict[str, float]
    ) -> None:
        candidates, references = read_magic(pack / "text" / "captions" / f"coco_{file}_result.json")
        scores = caption_metrics(candidates, references, tuple(published))
        assert {name: round(value, 1) for name, value in scores.items()} == published


@pytest.mark.parametrize(
    ("found", "wanted", "said"),
    [
        ({}, {}, "no captions"),
        ({"1": "a"}, {"2": ["a"]}, "no reference for 1 of 1 pictures, e.g. '1'"),
        ({"1": "a"}, {"1": ["a"], "2": ["a"]}, "no caption for 1 of 2 pictures, e.g. '2'"),
        ({"1": "a"}, {"1": []}, "'1': has an empty list"),
        ({"1": "a"}, {"1": "a"}, "'1': needs one text"),
        ({"1": ["a"]}, {"1": ["a"]}, "'1': needs one text"),
    ],
)
def test_captions_that_cannot_be_scored(found: dict, wanted: dict, said: str) -> None:
    with pytest.raises(SaywhyError, match=said):
        caption_metrics(found, wanted)


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(SaywhyError, match="no caption metric 'BLEU'; there are B@4"):
        caption_metrics({"1": "a"}, {"1": ["a"]}, ["BLEU"])


def test_without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SaywhyError, match="need Java"):
        caption_metrics({"1": "a"}, {"1": ["a"]})


def test_a_java_that_does_not_run_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stub = tmp_path / "java"  # macOS has such a one, which only tells where to buy
    stub.write_text("#!/bin/sh\nexit 1\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SaywhyError, match="need Java"):
        caption_metrics({"1": "a"}, {"1": ["a"]})


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_check_java", lambda: None)
    for name in [n for n in sys.modules if n.split(".")[0] == "pycocoevalcap"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    with pytest.raises(SaywhyError, match=r"pip install 'saywhy\[metrics\]'"):
        caption_metrics({"1": "a"}, {"1": ["a"]})


def test_a_tokenizer_that_fails_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_package", lambda: (Path(), frozenset(), Path("none.jar")))
    failed = subprocess.CompletedProcess([], 1, b"", b"Error: no memory\n")
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SaywhyError, match="0 of 1 captions; Java says: Error: no memory"):
        tokenize(["a"])
