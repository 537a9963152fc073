"""What holds of every page: no folder in a name, a legend, the part that was seen, links that lead somewhere."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import torch

from saywhy.answers.captions import answers_to_html
from saywhy.answers.explanation import explanation_to_html, new_report, save_report
from saywhy.answers.growing_page import MANY
from saywhy.answers.summary import summarise
from saywhy.answers.why import Why, save_why_report, say
from saywhy.types import Contrast, Geometry, Label
from tests.answers.test_captions import answers
from tests.helpers import explanation
from tests.questions.test_why import USUAL, _cache, asked

__all__ = ["_cache"]
LONG = "aVeryLongClassNameWithoutAnySpaceInIt" * 4


def test_names_of_models_come_without_folders_and_homes() -> None:
    one = explanation()
    named = replace(
        one, settings={**one.settings, "model": "timm:/home/ada/models/birds", "concepts": "/Users/ada/words.txt"}
    )
    why = asked(usual=USUAL)
    pages = [
        explanation_to_html(named),
        explanation_to_html(named, page=False),
        replace(
            why, space="tuned:/root/tuned/birds", settings={**why.settings, "clip": "/home/ada/clip"}
        )._repr_html_(),
        answers_to_html(answers(model="timm:/home/ada/models/birds", spaces=("clip:/root/a/b", "clip:/root/a/b, op"))),
    ]
    for page in pages:
        assert not re.search(r"/home/|/Users/|/root/|ada/", page)
    assert "timm:birds" in pages[3]
    assert "tuned:birds" in pages[2]
    assert "~/models/birds" in pages[0]  # in the settings, which repeat it


def test_the_map_has_a_legend_that_names_blue_only_where_it_is_to_be_seen() -> None:
    both = explanation()
    alone = replace(both, heatmap=replace(both.heatmap, values=both.heatmap.values.clamp(min=0)), phrases=())
    assert 'class="ramp both"' in explanation_to_html(both)
    page = explanation_to_html(alone)
    assert 'class="ramp"' in page
    assert "speaks for <em>toucan</em>" in page
    assert "against" not in visible(page)
    assert not any("blue" in axis.get_title() for axis in alone.figure().axes)


def test_the_part_that_the_network_saw_is_drawn_where_it_is_not_all() -> None:
    part = replace(explanation(), phrases=())
    page = explanation_to_html(part)
    style = "left:16.67%;top:0.00%;width:66.67%;height:100.00%"  # 16 to 80 of 96 pixels
    assert page.count(f'class="saw" style="{style}"') == 2
    assert "what the network saw; outside of it there is no relevance" in page
    assert any("what the network saw" in text.get_text() for text in part.figure().axes[0].texts)
    everything = replace(part, geometry=Geometry((96, 64), (32, 32), (3.0, 2.0), (0.0, 0.0)))
    page = explanation_to_html(everything)
    assert 'class="saw"' not in page
    assert "what the network saw" not in page


def test_nothing_speaks_for_a_class_by_less_than_nothing() -> None:
    labels = tuple(Label(text, "", 0.1, n, out) for n, (text, out) in enumerate([("long bill", 1.4), ("red", 0.3)]))
    against = (Label("short bill", "", -0.2, 0, -2.1),)
    one = explanation()
    page = explanation_to_html(replace(one, contrast=Contrast(one.predictions[1], labels, against)))
    part = page[page.index("Why toucan and not other") :].partition("</section>")[0].partition("<details")[0]
    assert "by 1.4 sd" in part
    assert "by 2.1 sd" in part
    assert not re.search(r"[-−–]\d", visible(part))


def because(why: Why) -> bool:
    """Whether a page heads anything by "Because of"."""
    return bool(re.search(r"<h3>Because of</h3>", why._repr_html_()))


def test_what_is_not_stated_stands_under_no_because() -> None:
    seen = asked(usual=USUAL, k=1)
    assert "because" in seen.sentence
    assert because(seen)
    hidden = tuple(replace(reason, visible=False) for reason in seen.reasons)
    none = replace(seen, reasons=hidden, visible=False, sentence=say(seen.category, hidden, False))
    assert "none of its listed rationales is visible" in none.sentence
    assert not because(none)
    assert "does not stand out" in none._repr_html_()
    unknown = asked(k=1)
    assert "cannot be told" in unknown.sentence
    assert not because(unknown)
    others = tuple(replace(reason, listed=False) for reason in seen.reasons)
    assert not because(replace(seen, reasons=others, sentence=say(seen.category, others, True)))


def test_the_why_page_speaks_plainly() -> None:
    page = visible(asked(usual=USUAL)._repr_html_())
    assert not re.search(r"P\(", page)
    assert "fits the picture, among all rationales" in page


def test_links_lead_to_files(tmp_path: Path) -> None:
    names = ["001-a b#?%.json", "001-a b#?%.png"]
    for name in [*names, "pictures.csv"]:
        (tmp_path / name).touch()
    page = new_report(tmp_path / "index.html", 2)
    page.add(explanation(), names)
    html = page.save(files=["pictures.csv", "not-there.csv"]).read_text()
    found = re.findall(r'href="([^"#]+)">([^<]+)<', html)
    assert [name for _, name in found] == ["pictures.csv", "JSON", "PNG"]
    assert all((tmp_path / unquote(link)).is_file() for link, _ in found)
    assert "not-there" not in html


def test_what_came_of_it_is_told_by_parts_and_nothing_is_lost() -> None:
    one = explanation()
    summary = summarise(one.picture, one.target, one.predictions, one.regions, one.claims, one.heatmap)
    page = explanation_to_html(replace(one, summary=summary))
    assert '<p class="answer">It says <em>toucan</em> (0.90).</p>' in page
    told = visible(page)
    for sentence in summary.replace("*", "").split(". "):
        assert sentence.rstrip(".") in told
    other = explanation_to_html(replace(one, summary="Another summary, of *toucan*."))
    assert '<p class="answer">Another summary, of <em>toucan</em>.</p>' in other


def test_a_page_with_several_pictures_leads_back_to_its_top(tmp_path: Path) -> None:
    several = save_report([explanation(), explanation()], tmp_path / "two.html").read_text()
    assert re.search(r'<a class="to-top" href="#top">', several)
    assert '<body id="top">' in several
    assert set(re.findall(r'href="#(picture-\d+)"', several)) == set(re.findall(r'id="(picture-\d+)"', several))


def visible(html: str) -> str:
    """The text of a page, without what stands in tags and styles."""
    from html import unescape

    text = re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", html, flags=re.S))
    return re.sub(r"\s+", " ", unescape(text)).replace(" .", ".")


# -- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if chromium is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


def pages(folder: Path) -> list[Path]:
    """One of each kind, with names that do not break."""
    one, why = explanation(LONG), asked(usual=USUAL)
    long = replace(why, sentence=f"This is a {LONG}.", category=LONG, space=LONG)
    groups = (("red", LONG), ("a five", f"{LONG} {LONG}"))
    several = [one, replace(one, heatmap=replace(one.heatmap, values=torch.zeros(1, 32, 32)), regions=(), findings=())]
    made = folder / "ask.html"
    made.write_text(answers_to_html(answers(groups=groups)), "utf-8")
    return [
        save_report(several, folder / "explain.html", title=LONG),
        save_report(several * (MANY // 2), folder / "many" / "index.html", title="Many"),
        save_why_report([long, long], folder / "why.html", title=LONG),
        made,
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_pages_fit_are_readable_and_ask_nothing_of_anybody(
    browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    for path in pages(tmp_path):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        page = context.new_page()
        asked_for: list[str] = []
        said: list[str] = []
        page.on("request", lambda request, to=asked_for: to.append(request.url))
        page.on("console", lambda message, to=said: to.append(message.text))
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path.name
        assert [url for url in asked_for if not url.startswith(("file:", "data:"))] == []
        assert said == []  # nothing is refused by the page's own policy
        assert contrast_of(page, ".answer") > 7
        assert contrast_of(page, ".note, .name, .legend") > 4.5
        page.emulate_media(media="print", color_scheme=scheme)  # on white paper, whatever the screen is
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert contrast_of(page, ".answer") > 7
        assert page.locator(".to-top").count() == 0 or not page.locator(".to-top").is_visible()
        context.close()


def contrast_of(page: Any, selector: str) -> float:
    """The contrast of a text to what it stands on, as WCAG defines it."""
    colours = page.evaluate(
        """selector => {
            const one = document.querySelector(selector);
            let on = one;
            while (on && getComputedStyle(on).backgroundColor === "rgba(0, 0, 0, 0)") on = on.parentElement;
            return [getComputedStyle(one).color, on ? getComputedStyle(on).backgroundColor : "rgb(255, 255, 255)"];
        }""",
        selector,
    )
    light, dark = sorted((_luminance(colour) for colour in colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
