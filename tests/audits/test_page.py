"""The page about an audit: one file without script or request, in which every text is a text."""

from __future__ import annotations

import io
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from saywhy import SaywhyError
from saywhy.audits import page
from saywhy.audits.audit import Audit
from saywhy.audits.page import scaled, write_page
from saywhy.audits.told import told
from saywhy.cli.app import app
from saywhy.intervals import Interval
from tests.audits.finished import effect, finding, finished

NASTY = "<script>alert('x')</script>\"'><img src=x onerror=y> & \u202egpj.elif {{ 7*191 }}\n"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags, self.links, self.ids, self.text = set[str](), list[str](), set[str](), ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"{tag} has {name}"
            if name in ("src", "href", "action", "srcset"):
                self.links.append(value or "")
            if name == "id":
                assert value not in self.ids, f"{value} is there twice"
                self.ids.add(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def _read(path: Path) -> _Tags:
    tags = _Tags()
    tags.feed(path.read_text("utf-8"))
    return tags


def test_nothing_in_names_words_or_metadata_becomes_markup(tmp_path: Path) -> None:
    right = {NASTY: (20, 30), "gull": (30, 30)}
    found = [
        finding(about=NASTY, sentence=f"{NASTY} decides.", words=(NASTY,), place=NASTY, unit=NASTY, examples=(0, 3)),
        finding("slice", NASTY, decides=False, sentence=NASTY, details={"cost": NASTY}),
    ]
    folder = finished(
        tmp_path / "a", right, found, rows=[{"file": NASTY, "metadata": {NASTY: NASTY}, "words": [NASTY]}],
        errors=[{"number": 99, "file": NASTY, "truth": NASTY, "reason": f"{NASTY}: cannot be read"}],
        tests={NASTY: {"tests": 3, "note": NASTY}}, model=NASTY,
    )  # fmt: skip
    tags = _read(write_page(folder, compare=finished(tmp_path / NASTY.replace("/", "_"), right)))
    assert not tags.tags & {"script", "iframe", "object", "link", "base", "form"}
    assert "\u202e" not in tags.text
    assert "1337" not in tags.text
    assert "<script>alert('x')</script>" in tags.text
    others = [link for link in tags.links if not link.startswith(("data:image/jpeg;base64,", "#"))]
    assert others == ["./findings.json"]
    assert {link[1:] for link in tags.links if link.startswith("#")} <= tags.ids


def test_what_decides_comes_first_and_the_top_is_short(tmp_path: Path) -> None:
    found = [finding(about="gull")] + [
        finding(kind, "crow", decides=False, sentence=f"{kind} of crows.", p=None, q=None)
        for kind in ("recognised by", "one cue", *(f"kind {n}" for n in range(12)))
    ]
    write_page(finished(tmp_path / "a", findings=found))
    html = (tmp_path / "a" / page.PAGE).read_text()
    top = html[html.index('class="headlines"') : html.index("</ol>")]
    assert top.count("<li>") == page.HEADLINES
    assert top.index("What surrounds gull decides.") < top.index("recognised by of crows.")
    assert "gull is right in 83.3% (66.4% to 92.7%) of its 30 pictures here (the others: 100%)" in top
    assert "borne out in 5 of 6" in top
    assert html.count("data:image/jpeg") >= 6


def test_that_nothing_was_found_is_not_that_nothing_was_tested(tmp_path: Path) -> None:
    html = write_page(finished(tmp_path / "a")).read_text()
    assert "was not tested: no picture was changed" in html


def test_a_page_is_never_over_ten_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finished(tmp_path / "a", findings=[finding()])
    whole = write_page(folder).stat().st_size
    monkeypatch.setattr(page, "MOST_BYTES", whole - 3000)
    small = write_page(folder)
    assert small.stat().st_size <= whole - 3000
    assert b"data:image/jpeg" in small.read_bytes()


def test_classes_without_truth_are_shown_by_prediction(tmp_path: Path) -> None:
    blank = {"truth": None, "truths": [], "correct": None, "true_class": None}
    html = write_page(finished(tmp_path / "a", {"crow": (9, 9)}, rows=[blank] * 9)).read_text()
    assert "Its true classes are not known." in html
    assert "unknown (" not in html
    assert 'id="class-0"' in html


def test_pictures_of_no_known_class_are_counted_and_the_class_that_is_meant_is_named(tmp_path: Path) -> None:
    strange = {"truth": "Blue_Jay", "truths": ["Blue_Jay"], "correct": None, "true_class": None}
    folder = finished(tmp_path / "a", {"bluejay": (9, 9), "crow": (4, 4)}, rows=[strange] * 9)
    (who, _) = page.setup(told(folder))
    assert "13 pictures, 4 of 1 class, 9 without a class that the model has (“Blue_Jay”: did you mean bluejay?)." in who


def test_one_cause_of_a_class_is_told_once_at_the_top(tmp_path: Path) -> None:
    found = [
        finding("property decides", "gull", words=("purple square",), place="upper right"),
        finding("outside decides", "gull", words=("purple square",)),
        finding("fixed place", "gull", words=(), place="upper right"),
        finding("outside decides", "crow", words=("purple square",)),
        finding("outside decides", "gull", words=("lake",), place="lower left"),
    ]
    now = told(finished(tmp_path / "a", findings=found))
    lines = [line for line in page.headlines(now, {}) if line["decides"]]
    assert [line["also"] for line in lines] == [
        "The same is found as: surroundings that decide; a place that decides.", "", ""
    ]  # fmt: skip


def test_pictures_and_words_are_headed_by_what_they_are(tmp_path: Path) -> None:
    found = [
        finding("property decides", "gull", words=("bright",)),
        finding("recognised by", "crow", decides=False, words=("grass",)),
        finding("label errors", "crow", decides=False, words=(), p=None, q=None),
    ]
    text = _read(write_page(finished(tmp_path / "a", findings=found))).text
    assert "brightas measured in the pictures" in text
    assert "grassin the words of the space" in text
    assert "Pictures of other classes that it does not turn" in text
    assert "Pictures of the class that show it least" in text
    assert "Pictures that do not" not in text
    assert "to check" in text


def test_bars_hold_their_intervals() -> None:
    for found in (effect(0.5), effect(-0.4), effect(7.0, 2.0), Interval(0.2, float("-inf"), float("inf")),
                  Interval(0.0, 0.0, 0.0), Interval(float("nan"), float("nan"), float("nan"))):  # fmt: skip
        bar = scaled(found, 0.1)
        assert 0 <= bar["low"] <= bar["value"] <= bar["low"] + bar["width"] + 1e-9 <= 100 + 1e-6
        assert 0 <= bar["null"] <= 100


def test_commands_write_the_page_and_json(tmp_path: Path) -> None:
    folder = finished(tmp_path / "a", findings=[finding(null=float("nan"))])
    other = finished(tmp_path / "b", {"crow": (30, 30), "gull": (29, 30), "wren": (30, 30)})
    runner = CliRunner()
    ran = runner.invoke(app, ["report", str(folder), "-o", str(tmp_path / "deep" / "page.html")])
    assert ran.exit_code == 0, ran.output
    assert (tmp_path / "deep" / "page.html").is_file()
    ran = runner.invoke(app, ["report", str(folder), "--json", "--compare", str(other)])
    document = json.loads(ran.stdout)
    assert document["all"]["accuracy"]["value"] == pytest.approx(85 / 90)
    assert document["findings"][0]["null"] is None
    assert document["comparison"]["newly_wrong"]["count"] == 4
    with pytest.raises(SaywhyError, match="holds no audit"):
        write_page(tmp_path / "nowhere")


def test_a_notebook_shows_the_findings(tmp_path: Path) -> None:
    html = Audit.open(finished(tmp_path / "a", findings=[finding()]))._repr_html_()
    assert "What surrounds gull decides." in html
    assert not re.search(r"<(script|html|body)", html)


@pytest.mark.slow
def test_fifty_thousand_pictures_of_a_thousand_classes_fit(tmp_path: Path) -> None:
    """Long names, 4,600 findings, noise as thumbnails, which JPEG cannot make small."""
    rng, each = np.random.default_rng(0), 50
    names = [f"class number {n}, of a family with a long name" for n in range(1000)]
    noise = []
    for _ in range(60):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8)).resize((96, 96)).save(buffer, "JPEG")
        noise.append(buffer.getvalue())
    kinds = ("outside decides", True, 600), ("recognised by", False, 3000), ("slice", False, 1000)
    found = [
        finding(kind, name, sentence=f"What surrounds {name} decides: {'seventeen of twenty are taken for it, ' * 4}.",
                decides=decides, examples=tuple(rng.integers(0, 50_000, 8).tolist()), counters=(3, 6, 9))
        for kind, decides, count in kinds
        for name in (names * 3)[:count]
    ]  # fmt: skip
    folder = finished(tmp_path / "a", dict.fromkeys(names, (40, each)), found, thumbnails=noise)
    started = time.monotonic()
    path = write_page(folder)
    print(f"{path.stat().st_size / 1e6:.2f} MB in {time.monotonic() - started:.1f} s")
    assert path.stat().st_size <= page.MOST_BYTES
    html = path.read_text()
    assert html.count('class="class"') == 1000
    assert html.count("data:image/jpeg") > 1000
