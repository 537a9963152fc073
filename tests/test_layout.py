"""The shape of the code: imports point one way, and every file says what it is for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "saywhy"
FILES = sorted(SOURCE.rglob("*.py"))

LAYERS: list[set[str]] = [
    {"errors", "types", "saywhy"},
    {"modules", "hub", "images", "geometry", "class_names", "similarity", "text_cache", "regions", "summary"}
    | {"zero_shot", "files", "rationale_words", "visual_prompts", "masking", "calibration", "bank_search", "banks"},
    {"feature_maps", "rationale_lists", "rationale_losses", "rationale_metrics"},
    {"vocabulary", "text_encoder", "text_to_weights", "attribution", "clip_space", "caption_files", "caption_metrics"}
    | {"activation_matching", "datasets", "rationales", "rationale_controls", "rationale_bottleneck"},
    {"cub", "language_filter", "language_training", "surgery", "labelled_images", "bank_encoding", "tuned_space"}
    | {"tuning_settings", "rationale_calibration", "rationale_regions", "rationale_use"},
    {"worlds", "finetuning", "prompt_bank", "tuning_batches", "why"},
    {"classifiers", "labels", "prompt_tuning"},
    {"language_model", "sentence_scoring", "class_evidence"},
    {"sentence_prefix", "sentence_guided"},
    {"classifier_space", "operated_space", "ask", "feature_cache", "sentence_metrics", "narrate"},
    {"concepts"},
    {"choices"},
    {"pipeline", "inquiry"},
    {"serialize", "overlay", "bench", "doctor"},
    {"report", "terminal", "answers_figure", "why_figure", "console"},
    {"cli_ask", "cli_data", "cli_tuning", "cli_why", "why_report"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def room(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return "saywhy" if parts == ("__init__",) else parts[0]


def imports_on_loading(path: Path) -> set[str]:
    """Rooms that a file imports when it is loaded: not inside functions, and not for type checking only."""
    found: set[str] = set()

    def visit(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "saywhy":
                found.add((node.module or "").split(".")[1] if "." in (node.module or "") else "saywhy")
            elif isinstance(node, ast.ClassDef | ast.If | ast.Try):
                visit(node.body)

    visit(ast.parse(path.read_text()).body)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    here = LEVEL[room(path)]
    for name in imports_on_loading(path) - {room(path)}:
        assert LEVEL[name] < here, f"{path.name} imports {name}, which is not below it"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_every_file_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_the_readme_names_every_room() -> None:
    text = (SOURCE.parents[1] / "README.md").read_text()
    rooms = {room(path) for path in FILES} - {"saywhy", "__main__", "errors"}
    assert not [name for name in rooms if name not in text]
