"""The page of ``saywhy serve`` in a browser: what a person does there, with the real server behind it."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms import Compose, Resize, ToTensor

from saywhy import answers, web
from saywhy.answers.explanation import Explanation
from saywhy.classifiers.classifier import Classifier
from saywhy.worlds import SAMPLES
from tests.audits.finished import finding, finished

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from saywhy.web.app import Site

CHROMIUM = Path("/usr/bin/chromium")
BIRD = SAMPLES / "aviary" / "red-crowned-kingfisher-sand.jpg"
PATIENCE = 120_000  # milliseconds in which an explanation must have come, on a busy machine
HOSTILE = '<img src=x onerror="window.broken=1"><script>window.broken=1</script>'
"""What a class may be called: text, and nothing but text."""


FOUND = [
    finding("outside decides", "gull", sentence=f"What surrounds {HOSTILE} decides."),
    finding("slice", "gull", sentence="Gulls with grass are more often wrong.", decides=False, examples=(30, 31)),
]


@dataclass
class Served:
    """A server that runs in this process, and where."""

    site: Site
    url: str


@dataclass
class Heard:
    """What a page said and asked for while it was open."""

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def serving(site: Site) -> Iterator[Served]:
    """The server in a thread, at a free port."""
    import uvicorn

    from saywhy.web.app import create_app

    server = uvicorn.Server(uvicorn.Config(create_app(site), port=0, log_level="warning", lifespan="on", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < end, "the server did not start in time"
        time.sleep(0.02)
    try:
        yield Served(site, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join(10)


class Tiny(nn.Module):
    """Two classes: red and blue."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, 2) from (N, 3, H, W)."""
        return self.head(pixels.mean((2, 3)))

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[4.0, -2.0, -2.0], [-2.0, -2.0, 4.0]]))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    pytest.importorskip("uvicorn", reason="needs the extra [web]")
    from saywhy.web.app import Site
    from saywhy.web.audit import Explorer
    from saywhy.web.models import Named, prepared
    from saywhy.web.work import Queue
    from tests.web.site import aviary

    transform = Compose([Resize((32, 32)), ToTensor()])
    hostile = Classifier.from_module(Tiny().eval(), transform=transform, labels=[HOSTILE, "blue"], name="hostile")
    models = {one.name: one for one in (aviary(), prepared(Named("hostile", hostile), ["concepts"], writer="none"))}
    folder = tmp_path_factory.mktemp("made") / "audit"
    looked_into = finished(folder, findings=FOUND, model="timm:birds", thumbnails=[BIRD.read_bytes()])
    site = Site(models, Queue(1, 8), max_bytes=1 << 20, explorer=Explorer(looked_into, models))
    with serving(site) as served:
        yield served


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    """One browser for all of these tests, and no longer: while it runs, so does an event loop in this thread."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def opened(chrome: Browser, url: str, **how: object) -> Iterator[tuple[Page, Heard]]:
    """The page in a context of its own, and what is heard of it."""
    context = chrome.new_context(**({"viewport": {"width": 1440, "height": 900}} | how))  # type: ignore[arg-type]
    page, heard = context.new_page(), Heard()
    page.set_default_timeout(30_000)
    page.on("console", lambda one: heard.errors.append(one.text) if one.type in ("error", "warning") else None)
    page.on("pageerror", lambda one: heard.errors.append(str(one)))
    page.on("request", lambda one: heard.requests.append(one.url))
    page.goto(url)
    page.wait_for_selector("#gallery button", state="attached")
    try:
        yield page, heard
    finally:
        context.close()


@pytest.fixture
def page(chrome: Browser, served: Served) -> Iterator[Page]:
    """The page; afterwards: it said nothing on the console, and asked no other host."""
    with opened(chrome, served.url) as (page, heard):
        yield page
    assert heard.errors == []
    assert [one for one in heard.requests if not one.startswith((served.url, "data:", "blob:"))] == []


def upload(page: Page, name: str = BIRD.name, content: bytes | None = None, kind: str = "image/jpeg") -> None:
    page.set_input_files(
        "#file", {"name": name, "mimeType": kind, "buffer": BIRD.read_bytes() if content is None else content}
    )


def answered(page: Page) -> None:
    """Wait for the answer; fail with what the page says instead."""
    page.wait_for_selector("#verdict, #problem:not([hidden])", timeout=PATIENCE)
    assert page.is_hidden("#problem"), page.inner_text("#problem")
    page.wait_for_selector("#work", state="hidden")


def until(page: Page, true: str) -> None:
    """Wait until an expression is true."""
    end = time.monotonic() + 10
    while not page.evaluate(true):
        assert time.monotonic() < end, true
        page.wait_for_timeout(20)


def quick(page: Page) -> None:
    """Without tests of claims, which most of what is looked at here does not need."""
    page.select_option("#checks", "none")


def test_upload_to_explanation(page: Page) -> None:
    upload(page)
    answered(page)
    assert page.inner_text("#verdict").startswith("It says Red-crowned Kingfisher")
    assert page.evaluate("document.activeElement.id") == "verdict"  # a screen reader reads on from here
    assert page.inner_text("#live").startswith("Done. It says Red-crowned Kingfisher")
    assert page.locator(".view .mark").count() == page.locator(".region").count() > 0
    assert page.evaluate("[...document.images].every(one => one.complete && (one.naturalWidth || one.hidden))")
    with page.expect_download() as saved:
        page.click(".links button:has-text('JSON')")
    assert Explanation.from_json(saved.value.path().read_text()).target.name == "Red-crowned Kingfisher"
    with page.expect_download() as saved:
        page.click(".links button:has-text('PNG')")
    assert saved.value.suggested_filename == "red-crowned-kingfisher-sand-why.png"
    assert Image.open(saved.value.path()).size[0] > 300


def test_a_region_and_its_box_light_up_together(page: Page) -> None:
    quick(page)
    upload(page)
    answered(page)
    page.click(".region button >> nth=0")
    assert page.get_attribute(".region button >> nth=0", "aria-expanded") == "true"
    assert page.is_visible(".region .more >> nth=0")
    lit = "[...document.querySelectorAll('.lit')].map(one => one.className + one.dataset.region).sort()"
    assert page.evaluate(lit) == ["mark lit1", "region lit1"]
    page.locator(".mark >> nth=0").dispatch_event("click")  # the same one: it is let go
    page.mouse.move(1, 1)
    page.evaluate("document.activeElement.blur()")
    assert page.evaluate(lit) == []
    assert page.is_hidden(".region .more >> nth=0")
    page.locator(".mark >> nth=0").dispatch_event("pointerenter")
    assert page.evaluate(lit) == ["mark lit1", "region lit1"]


def test_the_map_fades(page: Page) -> None:
    quick(page)
    upload(page)
    answered(page)
    opacity = "getComputedStyle(document.querySelector('.view .map')).opacity"
    assert page.evaluate(opacity) == "1"
    page.locator(".slider input").fill("0")
    assert page.evaluate(opacity) == "0"


def test_a_typed_phrase_is_shown_where_it_is(page: Page) -> None:
    quick(page)
    upload(page)
    answered(page)
    page.fill("#phrase input", "a red crown")
    page.keyboard.press("Enter")
    page.wait_for_selector("#phrase .found", timeout=PATIENCE)
    assert "standard deviations" in page.inner_text("#phrase .found")
    assert page.evaluate("document.querySelector('#phrase .map').naturalWidth") > 0


def test_captions_of_ones_own(page: Page) -> None:
    quick(page)
    upload(page)
    answered(page)
    page.fill("#captions textarea", "a bird with a red crown\n\n a bird with a blue crown \n")
    page.click("#captions button")
    page.wait_for_selector("#captions .fits", timeout=PATIENCE)
    assert page.locator("#captions .fits .said").count() == 2
    assert page.inner_text("#captions .fits b") == "a bird with a red crown"
    legend = page.inner_text("#captions .fits > .note")
    assert "Per cent: " in legend
    assert "sd: " in legend  # what is shown is explained, and nothing else
    assert "score" not in legend


@pytest.mark.parametrize("width", [390, 1440])
def test_why_this_class_and_not_that_one(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    quick(page)
    upload(page)
    answered(page)
    page.fill("#phrase input", "a red crown")
    page.keyboard.press("Enter")
    page.wait_for_selector("#phrase .found", timeout=PATIENCE)
    page.wait_for_selector("#work", state="hidden")
    page.select_option("#another select >> nth=1", page.input_value("#another select >> nth=0"))
    page.click("#another button")
    assert page.inner_text("#another [role=alert]") == "Choose two different classes."
    page.select_option("#another select >> nth=1", "Blue-crowned Kingfisher")
    page.click("#another button")
    page.wait_for_selector("#against", timeout=PATIENCE)
    heading = "Red-crowned Kingfisher and not Blue-crowned Kingfisher"
    assert heading.upper() in page.inner_text("section:has(#against) h3").upper()
    page.wait_for_selector("#work", state="hidden")
    assert page.evaluate("document.activeElement.id") == "against"  # it stands above the form: read on there
    assert page.inner_text("#live").startswith("Done. ")
    assert page.inner_text("#against") in page.inner_text("#live")
    until(page, "((top) => top > 0 && top < innerHeight - 90)(document.activeElement.getBoundingClientRect().top)")
    assert page.inner_text("#phrase .found b") == "a red crown"  # what was asked before stays


def test_what_is_no_picture_is_refused_in_a_line(page: Page) -> None:
    upload(page, "notes.txt", b"this is text\n" * 40, "text/plain")
    page.wait_for_selector("#problem:not([hidden])")
    said = page.inner_text("#problem")
    assert "notes.txt" in said
    assert "\n" not in said
    assert page.locator("#verdict").count() == 0


FIFTY = """() => {
    const given = new DataTransfer();
    given.items.add(new File([new Uint8Array(50 * 2 ** 20)], "huge.jpg", { type: "image/jpeg" }));
    document.getElementById("file").files = given.files;
    document.getElementById("file").dispatchEvent(new Event("change"));
}"""
"""Choose a file of 50 MiB."""


def test_fifty_megabytes_are_refused_before_they_are_sent(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url))
    page.evaluate(FIFTY)
    said = page.inner_text("#problem")
    assert "huge.jpg has 50 MiB, and at most 1.0 MiB" in said
    assert not [one for one in asked if "/api/" in one]
    upload(page)  # and the page goes on
    answered(page)


def test_fifty_megabytes_are_refused_by_the_server_whose_words_are_shown(chrome: Browser, served: Served) -> None:
    with opened(chrome, served.url) as (page, heard):
        page.route("**/api/options", lambda one: one.fulfill(json=one.fetch().json() | {"max_bytes": 1 << 40}))
        page.reload()  # the page believes that there is no limit
        page.wait_for_selector("#gallery button", state="attached")
        page.evaluate(FIFTY)
        page.wait_for_selector("#problem:not([hidden])", timeout=PATIENCE)
        assert page.inner_text("#problem") == "the picture has more than 1 MiB; make it smaller first"
        assert ["413" in one for one in heard.errors] == [True]  # what the browser says of it
        upload(page)
        answered(page)


def test_a_script_in_a_class_name_is_a_name(page: Page) -> None:
    red = io.BytesIO()
    Image.new("RGB", (32, 32), (255, 0, 0)).save(red, "PNG")
    page.select_option("#model", "hostile")
    quick(page)
    upload(page, '"><script>window.broken=1</script>.png', red.getvalue(), "image/png")
    answered(page)
    assert HOSTILE in page.inner_text("#verdict")
    assert page.evaluate("window.broken === undefined")
    assert page.locator("main script, main img[src='x']").count() == 0
    assert HOSTILE in page.locator("#another select >> nth=0").inner_text()


def test_cancel_frees_the_place(page: Page, served: Served) -> None:
    free = threading.Event()
    served.site.queue.add(free.wait, lambda state: None)  # the only worker is busy
    try:
        for cancel in (lambda: page.click("#cancel"), lambda: page.keyboard.press("Escape")):
            upload(page)
            page.wait_for_selector("#what:has-text('Waiting: this is next')")
            cancel()
            assert page.is_hidden("#work")
            end = time.monotonic() + 10
            while served.site.queue.counts()[1]:
                assert time.monotonic() < end, "the place in the queue is still taken"
                page.wait_for_timeout(20)
        assert page.is_hidden("#problem")
        assert page.locator("#verdict").count() == 0
    finally:
        free.set()
    page.click("#explain")
    answered(page)


def test_a_full_queue_is_said(chrome: Browser, served: Served) -> None:
    free = threading.Event()
    queue = served.site.queue
    waiting = [queue.add(free.wait, lambda state: None) for _ in range(queue.workers + queue.places)]
    try:
        with opened(chrome, served.url) as (page, heard):
            quick(page)
            upload(page)
            page.wait_for_selector("#problem:not([hidden])")
            assert page.inner_text("#problem") == "8 others are waiting; try again in a while"
            assert page.is_hidden("#work")
            assert ["503" in one for one in heard.errors] == [True]  # what the browser says of it
            free.set()
            for one in waiting:
                one.leave()
            page.click("#explain")  # the picture is still the one that is asked about
            answered(page)
    finally:
        free.set()


def test_the_keyboard_alone(page: Page) -> None:
    def tab_to(selector: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                style = "(({outlineStyle}) => outlineStyle)(getComputedStyle(document.activeElement))"
                assert page.evaluate(style) != "none", f"the focus on {selector} is not seen"
                return
        raise AssertionError(f"Tab does not reach {selector}")

    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # to the question
    assert page.evaluate("document.activeElement.id") == "main"
    tab_to("#model")
    tab_to("#checks")
    page.keyboard.press("Home")  # none
    tab_to("#gallery button")
    page.keyboard.press("Enter")
    answered(page)
    tab_to(".slider input")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text(".slider output") == "95 %"
    tab_to(".region button")
    assert page.locator(".mark.lit").count() == 1
    page.keyboard.press("Enter")
    assert page.get_attribute(".region button >> nth=0", "aria-expanded") == "true"
    if page.locator(".region").count() > 1:
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.closest('.region').dataset.region") == "2"
    tab_to("details summary")
    page.keyboard.press("Enter")
    assert page.get_attribute("details", "open") is not None
    tab_to("#phrase input")
    page.keyboard.type("a red beak")
    page.keyboard.press("Enter")
    page.wait_for_selector("#phrase .found", timeout=PATIENCE)


def test_a_server_that_is_gone_is_said(chrome: Browser, served: Served) -> None:
    with opened(chrome, served.url) as (page, _):
        page.context.set_offline(True)
        upload(page)
        page.wait_for_selector("#problem:not([hidden])")
        assert page.inner_text("#problem").startswith("The server does not answer.")
        page.context.set_offline(False)
        page.click("#explain")
        answered(page)


CONTRAST = """() => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    const rgb = (...colours) => {
        pen.clearRect(0, 0, 1, 1);
        for (const one of colours) { pen.fillStyle = one; pen.fillRect(0, 0, 1, 1); }
        return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3).map(one => one / 255);
    };
    const light = (colour) => {
        const [r, g, b] = colour.map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const poor = [];
    for (const one of document.querySelectorAll("body *")) {
        const own = [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim());
        if (!own || !one.checkVisibility() || one.closest(":disabled, .unseen, .skip, option, noscript")) continue;
        const behind = [];
        for (let up = one; up; up = up.parentElement) behind.unshift(getComputedStyle(up).backgroundColor);
        const ground = light(rgb(...behind)), ink = light(rgb(...behind, getComputedStyle(one).color));
        const ratio = (Math.max(ground, ink) + 0.05) / (Math.min(ground, ink) + 0.05);
        const what = `${one.className || one.tagName}: ${one.textContent.slice(0, 30)}`;
        if (ratio < 4.5) poor.push(`${what} ${ratio.toFixed(2)}`);
    }
    return poor;
}"""
"""Texts below the contrast of WCAG 2.2, level AA, for text of any size."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_it_fits_and_can_be_read(chrome: Browser, served: Served, width: int, scheme: str) -> None:
    with opened(chrome, served.url, viewport={"width": width, "height": 900}, color_scheme=scheme) as (page, heard):
        fits = "document.documentElement.scrollWidth <= innerWidth"
        assert page.evaluate(fits)
        assert page.evaluate(CONTRAST) == []
        upload(page, "a-name-without-any-place-to-break-it-" * 4 + ".jpg")
        answered(page)
        page.click(".region button >> nth=0")
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert page.evaluate(fits)
        assert page.evaluate(CONTRAST) == []
        assert page.evaluate(
            "[...document.querySelectorAll('select, input, textarea')].every(one => one.labels.length)"
        )
    assert heard.errors == []


def test_from_a_finding_of_an_audit_to_its_slice_and_its_pictures(chrome: Browser, served: Served) -> None:
    with opened(chrome, served.url) as (page, heard):
        page.click("#to-audit")
        page.click(".findings a:has-text('What surrounds')")
        page.wait_for_selector("h2:has-text('What surrounds')")
        assert HOSTILE in page.inner_text("h2.long")
        assert page.locator(".tiles li").count() == 5  # three that show it, two that do not
        page.click("a:has-text('Gulls with grass')")
        page.wait_for_selector("h2:has-text('Gulls with grass')")
        page.click(".tiles a >> nth=0")
        page.wait_for_selector("h2:has-text('Picture 30')")
        assert page.evaluate("[...document.querySelectorAll('#audit-part img')].every(one => one.alt)")
        assert "name it with --model" in page.inner_text("#audit-part .card")  # it cannot be explained: what to do
        page.go_back()
        page.wait_for_selector("h2:has-text('Gulls with grass')")
        page.evaluate("location.hash = '#audit/pictures/999999'")
        page.wait_for_selector("#problem:not([hidden])")
        page.click(".trail a")
        page.wait_for_selector(".findings")
        assert page.is_hidden("#problem")
        assert page.evaluate("window.broken === undefined")
        upload(page)  # dropped here, too
        answered(page)
    assert [one for one in heard.errors if "404" not in one] == []  # of the picture that there is not


@pytest.mark.slow  # makes an audit
def test_a_picture_of_an_audit_is_explained(chrome: Browser, tmp_path: Path) -> None:
    import saywhy
    from saywhy.web.app import Site
    from saywhy.web.audit import Explorer
    from saywhy.web.work import Queue
    from tests.web.site import aviary

    bird = aviary()
    how: dict[str, Any] = {"checks": "none", "sample": 4, "tries": 0, "objects": 0, "limit": 24}
    made = saywhy.audit("world:aviary", model=bird.classifier, out=tmp_path / "audit", kinds=["recognised by"], **how)
    models = {bird.name: bird}
    site = Site(models, Queue(1, 8), explorer=Explorer(made.folder, models))
    with serving(site) as served, opened(chrome, f"{served.url}/#audit/pictures/3") as (page, heard):
        page.click("text=Explain this picture")
        answered(page)
        says = made.query("SELECT prediction FROM pictures WHERE number = 3")["prediction"][0].as_py()
        assert page.inner_text("#verdict").startswith(f"It says {says}")
        assert page.locator(".region").count() > 0
    assert heard.errors == []


def test_the_colours_are_those_of_the_other_pages() -> None:
    other = (Path(answers.__file__).parent / "templates" / "look.css").read_text(encoding="utf-8")
    own = (Path(web.__file__).parent / "page" / "style.css").read_text(encoding="utf-8")
    for theirs, ours in zip(_palettes(other), _palettes(own), strict=True):
        shared = theirs.keys() & ours.keys()
        assert len(shared) >= 10
        assert {name: theirs[name] for name in shared} == {name: ours[name] for name in shared}


def _palettes(style: str) -> list[dict[str, str]]:
    """The colours of a stylesheet, light and dark."""
    blocks = [block for block in re.findall(r"{([^{}]*)}", style) if "--ink:" in block and "--ground:" in block]
    return [dict(re.findall(r"(--[\w-]+):\s*(#\w+)", block)) for block in blocks]


def test_nothing_is_read_as_html_and_nothing_comes_from_elsewhere() -> None:
    folder = Path(web.__file__).parent / "page"
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir() if path.is_file()}
    assert {"index.html", "app.js", "style.css"} <= set(texts)
    for name, text in texts.items():
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "://"):
            assert word not in text, name
