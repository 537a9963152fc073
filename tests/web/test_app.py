"""Every endpoint answers, and says in one line what it refuses."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

import saywhy
from saywhy.answers.explanation import Explanation
from saywhy.answers.plain_names import without_folders
from saywhy.types import Geometry
from saywhy.web import schema
from saywhy.web.forms import MAX_BYTES, Room
from saywhy.web.gallery import gallery, lenders
from saywhy.web.models import Model
from saywhy.web.shown import cut
from saywhy.web.work import BROKEN
from tests.web.site import EXAMPLE, called, client, lines, png, undescribed

FAST = {"checks": "none"}


def decoded(url: str) -> Image.Image:
    head, _, content = url.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_options_are_all_that_may_be_asked(asking: TestClient, model: Model) -> None:
    options = schema.Options(**asking.get("/api/options").json())
    (offered,) = options.models
    assert offered.name == "world:aviary"
    assert offered.classes == list(model.classifier.labels)
    assert offered.vocabularies == ["world:aviary"] == options.vocabularies
    assert offered.words == {"world:aviary": "140 words: the parts, colours and backgrounds of the embedded aviary"}
    assert offered.phrases
    assert options.checks == ["none", "fast", "full"]
    assert (options.audit, options.token_needed) == (None, False)
    assert {one.id for one in options.gallery} >= {EXAMPLE}


def test_the_gallery_has_free_pictures_only(asking: TestClient) -> None:
    for one in asking.get("/api/options").json()["gallery"]:
        assert one["credit"]
        assert "no licence" not in one["credit"]
        answer = asking.get(f"/api/gallery/{one['id']}.jpg")
        assert answer.headers["content-type"] == "image/jpeg"
        assert max(Image.open(io.BytesIO(answer.content)).size) <= 1024
    assert "motorcycle" not in gallery()


def test_an_explanation_comes_in_lines(asking: TestClient) -> None:
    answer = asking.post("/api/explanations", data={"example": EXAMPLE, "checks": "fast"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    first, *steps, last = lines(answer.text)
    assert first == {"state": "queued", "position": 1}
    assert [one["state"] for one in steps] == ["running"] * 4
    assert [(one["done"], one["total"]) for one in steps] == [(n, 4) for n in range(4)]
    assert last["state"] == "done"
    explained = schema.ExplanationState(**last).explanation
    assert explained.shown.predictions[0].name == "Red-crowned Kingfisher"


def test_an_answer_is_the_document_of_explain_and_what_a_page_draws(asking: TestClient, model: Model) -> None:
    answer = asking.post("/api/explanations", data={"example": EXAMPLE} | FAST, headers={"Accept": "application/json"})
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()["explanation"]
    shown = document.pop("shown")
    again = saywhy.explain(gallery()[EXAMPLE].path, model=model.classifier, checks="none")
    assert document == json.loads(again.to_json())
    assert Explanation.from_json(json.dumps(document)).summary == again.summary
    width, height = again.geometry.frame
    assert decoded(shown["map"]).size == (width, height)
    assert decoded(shown["map"]).mode == "RGBA"
    assert decoded(shown["picture"]).size == (shown["width"], shown["height"])
    for region, said in zip(shown["regions"], again.regions, strict=True):
        left, top, right, bottom = said.box
        assert region["box"]["left"] == pytest.approx(left / again.picture.width)
        assert region["box"]["top"] == pytest.approx(top / again.picture.height)
        assert region["box"]["width"] == pytest.approx((right - left) / again.picture.width)
        assert region["box"]["height"] == pytest.approx((bottom - top) / again.picture.height)


def test_the_pictures_of_the_gallery_lend_their_surroundings(asking: TestClient, model: Model) -> None:
    path = gallery()[EXAMPLE].path
    answer = asking.post("/api/explanations", data={"example": EXAMPLE}, headers={"Accept": "application/json"})
    document = answer.json()["explanation"]
    shown = document.pop("shown")
    assert shown["surroundings"]["verdict"] != "not testable"
    others = [one.path for one in gallery().values() if one.world]
    opinion = model.voice("").space
    alone = saywhy.explain(path, model=model.classifier)
    again = saywhy.verify(alone, model.classifier, path, space=opinion, others=others)
    assert document == json.loads(again.to_json())
    assert asking.post("/api/explanations", data={"example": EXAMPLE}, headers={"Accept": "application/json"}).json()[
        "explanation"
    ] == document | {"shown": shown}  # whatever was asked before


def test_where_no_picture_lends_its_surroundings_the_page_says_who_can_change_that(model: Model) -> None:
    with client(replace(model, others=None)) as asking:
        answer = asking.post("/api/explanations", data={"example": EXAMPLE}, headers={"Accept": "application/json"})
        around = answer.json()["explanation"]["shown"]["surroundings"]
    assert around["verdict"] == "not testable"
    assert around["said"].endswith("whoever started this server can name pictures that lend theirs, with --reference")


def test_only_what_a_model_is_known_to_know_lends_to_it() -> None:
    names = tuple(f"class {n}" for n in range(998))
    photographs = [one for one in gallery().values() if not one.world]
    assert len(lenders("timm:mine", ("tench", *names, "toilet tissue"))) == len(photographs)
    assert lenders("timm:mine", ("cell", "no cell")) == lenders("world:digits", ("0", "1")) == []
    assert len(lenders("world:aviary-watermark", ("a", "b"))) >= 5


def test_the_frame_is_told_where_it_cuts_something_off() -> None:
    wide = Geometry(size=(64, 32), frame=(16, 16), scale=(2.0, 2.0), offset=(16.0, 0.0))
    assert cut(wide) == schema.Box(left=0.25, top=0, width=0.5, height=1)
    assert cut(Geometry((32, 32), (16, 16), (2.0, 2.0), (0.0, 0.0))) is None


def test_an_upload_is_explained_as_its_file_is(asking: TestClient) -> None:
    content = gallery()[EXAMPLE].path.read_bytes()
    of_file = {"picture": ("mine.jpg", content, "image/jpeg")}
    one = lines(asking.post("/api/explanations", data=FAST, files=of_file).text)[-1]["explanation"]
    other = lines(asking.post("/api/explanations", data={"example": EXAMPLE} | FAST).text)[-1]["explanation"]
    assert one["shown"]["name"] == "mine.jpg"
    assert one["heatmap"] == other["heatmap"]
    assert one["claims"] == other["claims"]


def test_why_this_class_and_not_that(asking: TestClient, model: Model) -> None:
    fields = {"example": EXAMPLE, "target": "Red-crowned Kingfisher", "against": model.classifier.labels[0]} | FAST
    against = lines(asking.post("/api/explanations", data=fields).text)[-1]["explanation"]["shown"]["against"]
    assert against["other"]["name"] == model.classifier.labels[0]
    assert against["said"]
    same = lines(asking.post("/api/explanations", data=fields | {"against": "Red-crowned Kingfisher"}).text)[-1]
    assert same["state"] == "failed"
    assert "is the explained class itself" in same["error"]


def test_where_a_phrase_is(asking: TestClient) -> None:
    (*_, last) = lines(asking.post("/api/heatmaps", data={"example": EXAMPLE, "phrase": " a red crown "}).text)
    (*_, elsewhere) = lines(asking.post("/api/heatmaps", data={"example": EXAMPLE, "phrase": "a letter"}).text)
    found = schema.HeatmapState(**last).heatmap
    assert found.phrase == "a red crown"
    assert decoded(found.heatmap).mode == "RGBA"
    assert found.fits == ("does not stand out" not in found.said)
    assert found.score > schema.HeatmapState(**elsewhere).heatmap.score


def test_what_strangers_type_is_not_kept(asking: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path))
    for endpoint, fields in (("heatmaps", {"phrase": "a secret"}), ("captions", {"captions": ["a secret", "another"]})):
        answer = asking.post(f"/api/{endpoint}", data={"example": EXAMPLE} | fields)
        assert lines(answer.text)[-1]["state"] == "done"
    assert not any(b"secret" in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_how_well_captions_fit(asking: TestClient) -> None:
    texts = ["a bird with a green crown", "a bird with a red crown"]
    answer = asking.post(
        "/api/captions", data={"example": EXAMPLE, "captions": texts}, headers={"Accept": "application/json"}
    )
    found = schema.CaptionsState(**answer.json()).captions
    assert [one.text for one in found.captions] == texts
    assert found.best == texts[1]
    assert sum(one.share for one in found.captions) == pytest.approx(1)


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({}, 422, "send one picture"),
        ({"example": EXAMPLE, "model": "timm:resnet50"}, 404, "there is no model 'timm:resnet50'"),
        ({"example": EXAMPLE, "model": "../../etc/passwd"}, 404, "there is no model"),
        ({"example": "../../etc/passwd"}, 404, "the gallery has no picture"),
        ({"example": EXAMPLE, "vocabulary": "/etc/passwd"}, 422, "there is no vocabulary"),
        ({"example": EXAMPLE, "target": "a dragon"}, 422, "has no class 'a dragon'"),
        ({"example": EXAMPLE, "against": "a dragon"}, 422, "has no class 'a dragon'"),
        ({"example": EXAMPLE, "checks": "all"}, 422, "there is no way to check 'all'"),
        ({"example": EXAMPLE, "device": "cuda"}, 422, "there is no field 'device'"),
        ({"example": EXAMPLE, "model": "m" * 300}, 422, "model: String should have at most 200 characters"),
        ({"example": [EXAMPLE, EXAMPLE]}, 422, "example is there twice"),
    ],
)
def test_what_is_refused_says_why_in_one_line(
    asking: TestClient, fields: dict[str, str], status: int, said: str
) -> None:
    answer = asking.post("/api/explanations", data=fields, files={"other": b""} if not fields else None)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    if fields:
        assert said in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("endpoint", "fields", "said"),
    [
        ("heatmaps", {}, "name what should be seen"),
        ("heatmaps", {"phrase": "  "}, "name what should be seen"),
        ("heatmaps", {"phrase": "a" * 201}, "phrase: String should have at most 200 characters"),
        ("captions", {}, "give one or more"),
        ("captions", {"captions": ["a"] * 21}, "captions: List should have at most 20 items"),
        ("captions", {"captions": ["a" * 201]}, "captions.0: String should have at most 200 characters"),
    ],
)
def test_phrases_and_captions_are_bounded(asking: TestClient, endpoint: str, fields: dict, said: str) -> None:
    answer = asking.post(f"/api/{endpoint}", data={"example": EXAMPLE} | fields)
    assert answer.status_code == 422
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [
        ("explanations", {"phrase": "a beak"}),
        ("explanations", {"captions": ["a", "b"]}),
        ("heatmaps", {"phrase": "a beak", "target": "0"}),
        ("captions", {"captions": ["a"], "vocabulary": "world:aviary"}),
    ],
)
def test_a_field_of_another_question_is_refused(asking: TestClient, endpoint: str, fields: dict[str, str]) -> None:
    answer = asking.post(f"/api/{endpoint}", data={"example": EXAMPLE} | fields)
    assert answer.status_code == 422
    assert "is no field of this question" in answer.json()["error"]


def bomb(side: int) -> bytes:
    """A PNG of so many megapixels in some kilobytes."""
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"only words", "not a picture in a format that is read"),
        (b"", "the file is empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "not a picture in a format"),
        (png()[:200], "truncated"),
    ],
)
def test_a_file_that_is_no_picture_is_refused_in_one_line(asking: TestClient, content: bytes, said: str) -> None:
    for accept, status in (("*/*", 200), ("application/json", 422)):
        answer = asking.post(
            "/api/explanations", data=FAST, files={"picture": ("../../x/cat.jpg", content)}, headers={"Accept": accept}
        )
        assert answer.status_code == status
        last = lines(answer.text)[-1]
        assert last["state"] == "failed"
        assert last["error"].startswith("cat.jpg: ")
        assert said in last["error"]


@pytest.mark.parametrize(("side", "said"), [(20_000, "over 128 megapixels"), (9_000, "over the 50 megapixels")])
def test_a_decompression_bomb_is_refused_by_its_header(asking: TestClient, side: int, said: str) -> None:
    answer = asking.post("/api/explanations", data=FAST, files={"picture": ("big.png", bomb(side))})
    assert said in lines(answer.text)[-1]["error"]


def test_fifty_megabytes_are_refused_before_they_are_read(model: Model) -> None:
    room = Room()
    with client(model, room=room) as asking:
        large = b"\xff\xd8" + bytes(50 << 20)
        answer = asking.post("/api/explanations", data=FAST, files={"picture": ("large.jpg", large)})
        assert answer.status_code == 413
        assert answer.json()["error"] == "the picture has more than 20 MiB; make it smaller first"
        whole = room.left

        def chunks() -> Iterator[bytes]:  # of which nobody says how many come
            yield b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\n\r\n'
            for _ in range(50):
                yield bytes(1 << 20)
            yield b"\r\n--x--\r\n"

        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        assert asking.post("/api/explanations", content=chunks(), headers=headers).status_code == 413
        assert room.left == whole


def test_what_is_no_form_is_refused(asking: TestClient) -> None:
    assert asking.post("/api/explanations", json={"example": EXAMPLE}).status_code == 415
    headers = {"Content-Type": "multipart/form-data"}
    assert asking.post("/api/explanations", content=b"--x", headers=headers).status_code == 400
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert asking.post("/api/explanations", content=b"\r\n--y", headers=headers).status_code in (400, 422)
    many = {f"field{n}": "x" for n in range(100)}
    assert asking.post("/api/explanations", data=many, files={"picture": b"x"}).status_code == 400


def test_room_for_questions_is_bounded_and_given_back(model: Model) -> None:
    room = Room(200_000)
    with client(model, room=room) as asking:
        picture = {"picture": ("a.png", png(300, 300))}
        answer = asking.post("/api/explanations", data=FAST, files=picture)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert room.left == 200_000
        assert asking.post("/api/explanations", data={"example": EXAMPLE} | FAST).status_code == 200
        assert asking.post("/api/explanations", data={"example": EXAMPLE, "model": "no"}).status_code == 404
        assert room.left == 200_000


def test_a_full_queue_says_when_to_come_again(model: Model) -> None:
    with client(model, places=1) as asking, ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(asking.post, "/api/explanations", data={"example": EXAMPLE} | FAST) for _ in range(12)]
        answers = [one.result() for one in asked]
        codes = {answer.status_code for answer in answers}
        assert codes == {200, 503}
        for answer in answers:
            if answer.status_code == 503:
                assert int(answer.headers["retry-after"]) > 0
                assert "others are waiting" in answer.json()["error"]
            else:
                assert lines(answer.text)[-1]["state"] == "done"
        assert asking.post("/api/explanations", data={"example": EXAMPLE} | FAST).status_code == 200


def test_many_threads_give_the_serial_answers(model: Model) -> None:
    ids = [one.id for one in gallery().values() if one.world][:4]
    with client(model, workers=3, places=64) as asking, ThreadPoolExecutor(12) as pool:
        asked = [{"example": id, "checks": "fast"} for id in ids]
        serial = [lines(asking.post("/api/explanations", data=one).text)[-1] for one in asked]
        found = [pool.submit(asking.post, "/api/explanations", data=one) for _ in range(3) for one in asked]
        for n, one in enumerate(found):
            assert lines(one.result().text)[-1] == serial[n % len(ids)]


def test_a_script_in_the_name_of_a_class_stays_text(model: Model) -> None:
    script = "<script>alert(1)</script>"
    labels = (script, *model.classifier.labels[1:])
    with client(called(model, labels)) as asking:
        assert asking.get("/api/options").json()["models"][0]["classes"][0] == script
        answer = asking.post("/api/explanations", data={"example": EXAMPLE, "target": script} | FAST)
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert lines(answer.text)[-1]["explanation"]["target"]["name"] == script
        answer = asking.post("/api/explanations", data={"example": EXAMPLE, "target": "<b>x"} | FAST)
        assert answer.headers["content-type"] == "application/json"


def test_openapi_describes_every_answer(asking: TestClient) -> None:
    document = asking.get("/openapi.json").json()
    assert set(document["paths"]) >= {"/api/options", "/api/explanations", "/api/heatmaps", "/api/captions"}
    body = document["paths"]["/api/explanations"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(body["properties"]) == {
        "picture",
        "model",
        "vocabulary",
        "example",
        "audited",
        "target",
        "against",
        "checks",
    }
    assert {"ExplanationState", "Shown", "Problem", "Captions", "Heatmap"} <= set(document["components"]["schemas"])
    assert asking.get("/docs").status_code == 404  # it would load scripts from elsewhere
    assert undescribed(document) == []


def test_other_paths_and_methods_are_refused_as_json(asking: TestClient) -> None:
    for path in ("/api/nothing", "/static/../app.py", "/static/%2e%2e/app.py", "/api/gallery/..%2fx.jpg"):
        answer = asking.get(path)
        assert answer.status_code == 404
        assert list(answer.json()) == ["error"]
        assert "/openapi.json" in answer.json()["error"] or "gallery" in answer.json()["error"]
    assert asking.get("/api/explanations").status_code == 405


def test_a_fault_of_the_program_says_nothing_of_it(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret of /home/me")

    with client(model) as asking:
        monkeypatch.setattr("saywhy.web.app.thumbnail", broken)
        answer = asking.get(f"/api/gallery/{EXAMPLE}.jpg")
        assert (answer.status_code, answer.json()) == (500, {"error": BROKEN})
        assert answer.headers["x-content-type-options"] == "nosniff"
        monkeypatch.setattr("saywhy.web.app.explain_pictures", broken)
        one = {"Accept": "application/json"}
        answer = asking.post("/api/explanations", data={"example": EXAMPLE}, headers=one)
        assert (answer.status_code, answer.json()) == (500, {"state": "failed", "error": BROKEN})


def test_no_limit_is_beyond_what_is_said(asking: TestClient) -> None:
    assert asking.get("/api/options").json()["max_bytes"] == MAX_BYTES


@pytest.mark.parametrize(
    ("said", "tidy"),
    [
        ("/home/me/photos/cat.jpg: there is no file", "cat.jpg: there is no file"),
        ("learned from '/data/a b.csv'", "learned from 'a b.csv'"),
        (r"C:\Users\me\cat.jpg is none", "cat.jpg is none"),
        ("and/or, 1/2, https://github.com/x/y", "and/or, 1/2, https://github.com/x/y"),
        ("timm:./models/mine and timm:/models/mine", "timm:mine and timm:mine"),
    ],
)
def test_folders_are_nobodys_business(said: str, tidy: str) -> None:
    assert without_folders(said) == tidy
