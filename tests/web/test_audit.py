"""An audit is looked around in: findings, pictures, and an explanation of one by the audit's own collection."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

import saywhy
from saywhy.audits.finding import AuditFinding
from saywhy.intervals import Interval
from saywhy.web import schema
from saywhy.web.audit import Explorer
from saywhy.web.models import Model
from tests.audits.finished import finished
from tests.web.site import EXAMPLE, aviary, client, lines, undescribed

HOSTILE = "<img src=x onerror=alert(1)>"


def finding(kind: str, about: tuple[str, ...], **more: object) -> AuditFinding:
    sentence = f"{HOSTILE} of {about[0]}"
    return AuditFinding(kind, about, sentence, False, Interval(0.9, 0.8, 0.95), "of pictures", **more)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model() -> Model:
    return aviary()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[TestClient]:
    """An audit of a model that is not offered."""
    found = [
        finding("wrong predictions", ("crow",), examples=(0, 1), counters=(2,), words=("grass",), verified=(1, 2)),
        finding("slice", ("crow", "grass"), examples=(3, 500)),
        finding("slice", ("wren",)),
    ]
    folder = finished(tmp_path_factory.mktemp("made") / "audit", findings=found, model="timm:/home/me/models/birds")
    with client(model, explorer=Explorer(folder, {model.name: model})) as asking:
        yield asking


def test_findings_lead_to_slices_and_pictures(made: TestClient) -> None:
    overview = schema.AuditOverview(**made.get("/api/audit").json())
    assert made.get("/api/options").json()["audit"] == {"name": "audit", "model": None}
    assert [one.kind for one in overview.findings].count("slice") == 2
    number = next(one.number for one in overview.findings if one.kind == "wrong predictions")
    found = schema.FindingDetails(**made.get(f"/api/audit/findings/{number}").json())
    assert found.finding.sentence.startswith(HOSTILE)
    assert (found.finding.effect.text, found.finding.verified) == ("0.90 (0.80 to 0.95)", (1, 2))
    assert [one.number for one in found.examples] == [0, 1]
    assert [one.number for one in found.counters] == [2]
    assert (found.examples_are, found.counters_are) == ("Wrong ones that show it most", "Wrong ones that show it least")
    assert (found.finding.badge, found.words_are) == ("goes with", "in the words of the space")
    assert [one.about for one in found.slices] == [["crow", "grass"]]
    picture = schema.AuditRow(**made.get("/api/audit/pictures/0").json())
    assert picture.file == "0.jpg"
    assert number in [one.number for one in picture.findings]


def test_thumbnails_are_what_was_kept(made: TestClient) -> None:
    overview = made.get("/api/audit").json()
    examples = made.get(f"/api/audit/findings/{overview['findings'][0]['number']}").json()["examples"]
    assert {one["picture"] for one in examples} == {True, False}
    for one in examples:
        answer = made.get(f"/api/audit/pictures/{one['number']}.jpg")
        assert answer.status_code == (200 if one["picture"] else 404)
        if one["picture"]:
            assert Image.open(io.BytesIO(answer.content)).format == "JPEG"


def test_an_audit_of_another_model_says_how_to_explain_its_pictures(made: TestClient) -> None:
    overview = made.get("/api/audit").json()
    assert overview["model"] is None
    assert overview["why_not"] == "its model, timm:birds, is not among those that may be asked; name it with --model"
    answer = made.post("/api/explanations", data={"audited": "0"})
    assert answer.status_code == 409
    assert overview["why_not"] in answer.json()["error"]
    assert "/home/me" not in json.dumps([overview, made.get("/api/audit/pictures/0").json()])


def test_openapi_describes_what_an_audit_tells(made: TestClient) -> None:
    document = made.get("/openapi.json").json()
    assert {"AuditOverview", "FindingDetails", "AuditRow"} <= set(document["components"]["schemas"])
    assert undescribed(document) == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("findings/99", 404),
        ("findings/-1", 404),
        ("findings/x", 422),
        ("pictures/99999", 404),
        ("pictures/-1", 404),
        ("pictures/9999999999999999999999", 404),
        ("pictures/1;DROP TABLE pictures", 422),
        ("pictures/../../manifest.json", 404),
        ("pictures/..%2f..%2fmanifest.json.jpg", 404),
        ("pictures/99999.jpg", 404),
        ("pictures/99999/map.jpg", 404),
    ],
)
def test_numbers_are_all_that_is_taken(made: TestClient, path: str, status: int) -> None:
    answer = made.get(f"/api/audit/{path}")
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Path:
    out = tmp_path_factory.mktemp("real") / "audit"
    how = {"checks": "none", "tries": 0, "objects": 0}
    return saywhy.audit("world:aviary", model=model.classifier, out=out, limit=8, kinds=["recognised by"], **how).folder


def test_a_picture_of_an_audit_is_explained_as_itself(folder: Path, model: Model) -> None:
    explorer = Explorer(folder, {model.name: model})
    assert explorer.why_not == ""
    with client(model, explorer=explorer) as asking:
        assert asking.get("/api/audit").json()["model"] == "world:aviary"
        row = asking.get("/api/audit/pictures/3").json()
        asked = {"audited": "3", "checks": "none"}
        answer = asking.post("/api/explanations", data=asked)
        explained = lines(answer.text)[-1]["explanation"]
        name, image = explorer.open(3)
        assert explained["shown"]["name"] == name == row["file"]
        assert (explained["shown"]["width"], explained["shown"]["height"]) == image.size
        assert explained["predictions"][0]["name"] == row["prediction"]
        assert explained["predictions"][0]["probability"] == pytest.approx(row["probability"], abs=1e-5)
        named = asking.post("/api/explanations", data=asked | {"model": model.name})
        assert lines(named.text)[-1] == lines(answer.text)[-1]
        found = lines(asking.post("/api/heatmaps", data={"audited": "3", "phrase": "a red crown"}).text)[-1]
        assert found["heatmap"]["phrase"] == "a red crown"
        fits = lines(asking.post("/api/captions", data={"audited": "3", "captions": ["a bird", "a car"]}).text)[-1]
        assert fits["captions"]["best"] == "a bird"
        assert row["frame"] is None  # all of it was seen
        for wrong, status in (
            ({"audited": "99"}, 404),
            ({"audited": "-1"}, 404),
            ({"audited": "9" * 30}, 404),
            ({"audited": "x"}, 422),
            ({"audited": "NaN"}, 422),
            ({"audited": "1.5"}, 422),
            ({"audited": "3", "example": EXAMPLE}, 422),
            ({"audited": "3", "model": "imagenet"}, 404),
        ):
            refused = asking.post("/api/explanations", data=wrong)
            assert (refused.status_code, list(refused.json())) == (status, ["error"]), wrong


def test_a_collection_that_changed_is_not_explained(folder: Path, model: Model) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = dict(manifest["data"])
    try:
        manifest["data"]["digest"] = "other"
        (folder / "manifest.json").write_text(json.dumps(manifest))
        assert "has other pictures now" in Explorer(folder, {model.name: model}).why_not
        manifest["data"] |= {"name": "/home/me/photos"}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        why = Explorer(folder, {model.name: model}).why_not
        assert why.startswith("its pictures cannot be opened")
        assert "/home/me" not in why
    finally:
        manifest["data"] = kept
        (folder / "manifest.json").write_text(json.dumps(manifest))
