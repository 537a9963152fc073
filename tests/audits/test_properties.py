"""Properties, pieces and metadata that decide: of classifiers that go by one thing, written down by hand."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet
from torch import nn

from saywhy import audit
from saywhy.audits.altered import Part, changed_picture
from saywhy.audits.audit import Audit
from saywhy.audits.finding import AuditFinding
from saywhy.audits.findings import properties as findings
from saywhy.audits.findings.properties import find
from saywhy.classifiers.classifier import Classifier
from saywhy.pictures.collections import Entry, Listed
from saywhy.pictures.properties import properties

SIDE, EACH = 48, 24
LABELS = ("plain", "dotted", "other")
KINDS = ("property decides", "metadata decides", "goes with metadata")


def _transform(image: Image.Image) -> torch.Tensor:
    resized = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return torch.as_tensor(np.array(resized)).permute(2, 0, 1).float() / 255


class _GoesBy(nn.Module):
    """The third class where a number is large; else the first or second by the contrast of the picture."""

    def __init__(self, rows: Sequence[Sequence[float]], bias: Sequence[float]) -> None:
        super().__init__()
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(3, 3)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor(rows))
            self.head.bias.copy_(torch.tensor(bias))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.head(self.pool(x).flatten(1)))


BY_LIGHT = ([[-8.0] * 3, [-8.0] * 3, [8.0] * 3], [16.0, 15.9, -16.0])
BY_CAST = ([[-20.0, 0.0, 20.0], [-20.0, 0.1, 20.0], [20.0, 0.0, -20.0]], [3.0, 2.9, -3.0])
BY_GREEN = ([[0.0, 20.0, 0.0], [0.0, -20.0, 0.0], [0.0, 0.0, 0.0]], [-12.0, 12.0, -3.0])


def _classifier(weights: tuple[Sequence[Sequence[float]], Sequence[float]]) -> Classifier:
    return Classifier.from_module(_GoesBy(*weights), transform=_transform, labels=list(LABELS), name="by hand")


def _scene(rng: np.random.Generator, light: float = 0.4, cast: float = 0.0) -> Image.Image:
    noise = np.kron(rng.normal(0, 0.12, (SIDE // 4, SIDE // 4, 1)), np.ones((4, 4, 3)))
    pixels = light + noise + rng.normal(0, 0.03) + np.array([cast, 0, -cast])
    return Image.fromarray((255 * pixels.clip(0, 1)).astype(np.uint8))


def _data(scene: Callable[[int, np.random.Generator], tuple[Image.Image, dict[str, str]]]) -> Listed:
    entries = []
    for n in range(3 * EACH):
        image, metadata = scene(n % 3, np.random.default_rng([n, 5]))
        entries.append(Entry(f"{n}.png", (LABELS[n % 3],), image.copy, metadata))
    return Listed("by hand", entries)


def _audit(data: Listed, classifier: Classifier, out: Path) -> Audit:
    return audit(data, model=classifier, space="own", out=out, checks="none", kinds=KINDS)


def _decides(found: Audit) -> list[AuditFinding]:
    return [one for one in found.findings if one.decides]


def _light(label: int, rng: np.random.Generator) -> tuple[Image.Image, dict[str, str]]:
    return _scene(rng, 0.75 if label == 2 else 0.45), {}


def _cameras(label: int, rng: np.random.Generator) -> tuple[Image.Image, dict[str, str]]:
    second = rng.random() < (0.9 if label == 2 else 0.2)
    return _scene(rng, 0.5, 0.12 if second else -0.12), {"camera": "B" if second else "A", "room": str(label)}


@pytest.fixture(scope="module")
def by_light(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return _audit(_data(_light), _classifier(BY_LIGHT), tmp_path_factory.mktemp("light") / "audit")


@pytest.fixture(scope="module")
def by_camera(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return _audit(_data(_cameras), _classifier(BY_CAST), tmp_path_factory.mktemp("camera") / "audit")


def test_what_decides_is_found_and_named(by_light: Audit) -> None:
    first = next(one for one in _decides(by_light) if one.about == ("other",))
    assert (first.kind, first.about, first.words) == ("property decides", ("other",), ("bright", "brightness"))
    assert first.effect.low > 0.5
    assert first.null < 0.1
    assert first.q is not None
    assert first.q < 0.001
    assert first.details["set back"][0] < first.details["set back"][1] / 4
    assert first.details["level"][0] > first.details["usual"][0] + 0.2
    assert set(first.examples) <= set(range(2, 3 * EACH, 3))
    assert not set(first.counters) & set(range(2, 3 * EACH, 3))


def test_light_that_the_class_does_without_decides_nothing(by_light: Audit, tmp_path: Path) -> None:
    """Colours moved far enough are another class's, which is no shortcut."""
    folder = Path(shutil.copytree(by_light.folder, tmp_path / "copy"))
    assert any(one.about == ("other",) for one in find(Audit.open(folder).view).findings)
    for path in (folder / "trials" / "properties").glob("*/trials.parquet"):
        table = parquet.read_table(path)
        kept = [hit or "set back" in variant for hit, variant in
                zip(table["hit"].to_pylist(), table["variant"].to_pylist(), strict=True)]  # fmt: skip
        parquet.write_table(table.set_column(table.column_names.index("hit"), "hit", pyarrow.array(kept)), path)
    assert not [one for one in find(Audit.open(folder).view).findings if one.about == ("other",)]


def test_a_changed_picture_is_made_again(by_light: Audit) -> None:
    data, classifier = _data(_light), _classifier(BY_LIGHT)
    rows = by_light.query("SELECT * FROM trials WHERE variant LIKE 'brightness%' ORDER BY number LIMIT 30").to_pylist()

    class Asked:
        pictures = data

    for row in rows:
        image = changed_picture(Asked, row)  # type: ignore[arg-type]
        assert image is not None
        said = int(classifier.logits(classifier.preprocess([image]))[0].argmax())
        assert said == row["after"]
        assert (said == row["target"]) == row["hit"]
        amount = float(row["variant"].split(",")[0].split()[-1])
        own = properties(data[row["number"]].open())["brightness"]
        assert properties(image)["brightness"] == pytest.approx(np.clip(own + amount, 0, 1), abs=0.05)


def test_what_only_goes_with_the_class_is_no_finding(tmp_path: Path) -> None:
    found = _audit(_data(_light), _classifier(BY_GREEN), tmp_path / "audit")  # right about none of it
    trials = found.query("SELECT target, count(*) AS n FROM trials WHERE variant LIKE 'brightness by%' GROUP BY target")
    assert 2 in trials["target"].to_pylist()
    assert not [one for one in _decides(found) if "other" in one.about]


def test_nothing_is_found_where_nothing_sets_classes_apart(tmp_path: Path) -> None:
    found = _audit(_data(lambda label, rng: (_scene(rng), {})), _classifier(BY_LIGHT), tmp_path / "audit")
    assert not _decides(found)


def test_a_camera_decides_by_way_of_its_cast(by_camera: Audit) -> None:
    first = next(one for one in _decides(by_camera) if one.about == ("other", "camera = B"))
    assert first.kind == "metadata decides"
    assert first.details["carrier"] in ("colour cast", "white balance", "light and colour")
    assert first.effect.low > 0.5
    assert first.null < 0.3
    donors = by_camera.query(
        "SELECT a.truth AS changed, b.truth AS lent, b.metadata['camera'] AS camera, t.control FROM trials t "
        "JOIN pictures a ON a.number = t.number JOIN pictures b ON b.number = t.other "
        "WHERE family = 'metadata' AND about = 'camera = B' AND variant NOT LIKE '%set back'"
    ).to_pylist()
    assert donors
    assert all(row["changed"] == row["lent"] for row in donors)
    assert all(("A" if row["control"] else "B") in row["camera"] for row in donors)


def test_what_goes_with_metadata_is_said_as_such(by_camera: Audit) -> None:
    found = [one for one in by_camera.findings if one.kind == "goes with metadata"]
    assert not any(one.decides for one in found)
    by_name = {one.about[0]: one for one in found if one.unit == "Cramér's V"}
    assert by_name["room"].effect.value == pytest.approx(1)
    assert by_name["camera"].effect.value < 0.9
    often = [one for one in found if one.unit != "Cramér's V" and one.about == ("other", "camera = B")]
    assert often
    assert often[0].effect.low > 0.5
    assert "more often" in often[0].sentence


def test_a_camera_that_the_classifier_does_not_go_by_decides_nothing(tmp_path: Path) -> None:
    def scene(label: int, rng: np.random.Generator) -> tuple[Image.Image, dict[str, str]]:
        image, metadata = _cameras(label, rng)
        lit = np.asarray(image).astype(float) * (1.5 if label == 2 else 0.9)
        return Image.fromarray(lit.clip(0, 255).astype(np.uint8)), metadata

    found = _audit(_data(scene), _classifier(BY_LIGHT), tmp_path / "audit")
    assert not [one for one in _decides(found) if one.kind == "metadata decides"]
    assert ("other",) in [one.about for one in _decides(found)]


def test_sharpness_the_class_does_without_decides_nothing(by_light: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a blurred class nothing is asked so: no change takes a blur from its pictures."""
    rows = [{"variant": f"blur{way}", "number": n, "other": n, "hit": True, "control": False}
            for way in ("", ", set back") for n in range(20)]  # fmt: skip
    part = Part("blur", "other", 2, "", rows, [])
    for level, needed in ((5.0, False), (1.0, True)):
        monkeypatch.setattr(findings, "levels", lambda *_, level=level: ([level], [3.0]))
        assert findings._matters(by_light.view, part) == needed
