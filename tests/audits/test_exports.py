"""Exports are read back through the tools themselves."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from saywhy import SaywhyError
from saywhy.audits.exports import export
from saywhy.cli.app import app
from tests.audits.finished import finding, finished

NASTY = "<script>x</script> [a](b) *c* | `d`"


@pytest.fixture
def audited(tmp_path: Path) -> Path:
    found = [finding(sentence=f"Gulls: {NASTY}"), finding("slice", "crow", decides=False, sentence="A slice of crows.",
             null=float("nan"), p=None, q=None, verified=None, examples=(0,))]  # fmt: skip
    return finished(tmp_path / "audit", findings=found)


def test_a_model_card_has_numbers_and_no_markup_of_others(audited: Path, tmp_path: Path) -> None:
    card = export(audited, "model-card")
    assert "94.4% (87.6% to 97.6%) are right" in card
    assert "0.85 (0.64 to 0.95) of pictures turned into the class; q < .001" in card.replace("&lt;", "<")
    assert "<script>" not in card
    assert r"\[a\]" in card
    assert (
        card.index("Gulls") < card.index("does not show what the decision rests on") < card.index("A slice of crows.")
    )
    assert "The least accurate class is gull: 83.3%" in card
    export(audited, "model-card", tmp_path / "card.md")
    assert (tmp_path / "card.md").read_text() == card


def test_a_card_does_not_say_that_there_is_no_shortcut_where_none_was_looked_for(tmp_path: Path) -> None:
    assert "Whether shortcuts decide was not tested." in export(finished(tmp_path / "a"), "model-card")


def test_tensorboard_reads_it(audited: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    export(audited, "tensorboard", tmp_path / "tb")
    read = EventAccumulator(str(tmp_path / "tb"))
    read.Reload()
    tags: dict[str, Any] = read.Tags()
    assert read.Scalars("audit/accuracy")[0].value == pytest.approx(85 / 90)
    assert "accuracy/gull" in tags["scalars"]
    assert "findings/01 outside decides" in tags["images"]
    assert read.Images("findings/01 outside decides")[0].width == 3 * 96
    texts = [tag for tag in tags["tensors"] if tag.startswith("audit/findings")]
    assert b"does not show what the decision rests on" in read.Tensors(texts[0])[0].tensor_proto.string_val[0]


def test_wandb_keeps_a_table_offline(audited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="needs wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for name in ("CACHE_DIR", "CONFIG_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / "home"))
    said = export(audited, "wandb", tmp_path / "wb")
    assert "offline-run" in said
    (path,) = (tmp_path / "wb").glob("wandb/offline-run-*/files/media/table/findings*.json")
    table = json.loads(path.read_text())
    first = dict(zip(table["columns"], table["data"][0], strict=True))
    assert (first["kind"], first["about"], first["borne out"], first["tested"]) == ("outside decides", "gull", 5, 6)
    (run,) = (tmp_path / "wb").glob("wandb/offline-run-*/*.wandb")
    kept = run.read_bytes()
    assert b"findings.table.json" in kept
    assert kept.count(b"media/images/") >= 1


def test_fiftyone_reads_it(audited: Path, tmp_path: Path) -> None:
    pytest.importorskip("fiftyone", reason="needs fiftyone")
    if "FIFTYONE_DATABASE_URI" not in os.environ:
        pytest.skip("needs a MongoDB: set FIFTYONE_DATABASE_URI")
    import fiftyone

    export(audited, "fiftyone", tmp_path / "fo")
    dataset = fiftyone.Dataset.from_dir(str(tmp_path / "fo"), fiftyone.types.FiftyOneDataset)
    try:
        assert len(dataset) == 30
        first = dataset.match_tags("outside decides: gull").first()
        assert first.ground_truth.label == "gull"
        assert first.relevance.map.shape == (9, 12)
        assert first.regions.detections[0].label == "feather"
        assert Path(first.filepath).is_file()
        assert {"right", "wrong", "not outside decides: gull", "slice: crow"} <= set(dataset.distinct("tags"))
    finally:
        dataset.delete()
    with pytest.raises(SaywhyError, match="holds other files"):
        export(audited, "fiftyone", tmp_path / "fo")


def test_what_is_missing_or_unknown_is_one_line(audited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SaywhyError, match="did you mean wandb"):
        export(audited, "wandbb")
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    with pytest.raises(SaywhyError, match=r"pip install 'saywhy\[wandb\]'"):
        export(audited, "wandb")
    assert CliRunner().invoke(app, ["export", str(audited), "--to", "model-card"]).exit_code == 0
