"""What a terminal sees: options before models, notes and bars on standard error, names that complete."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from saywhy.attribution import METHODS
from saywhy.attribution.composites import COMPOSITES
from saywhy.classifiers.classifier import Classifier
from saywhy.cli import completion
from saywhy.spaces import clip, tuned  # imported now, so that no module is imported while they are replaced
from saywhy.worlds import SAMPLES
from tests.cli.test_app import refused, saywhy
from tests.helpers import picture

BIRDS = sorted((SAMPLES / "aviary").glob("*.jpg"))[:3]
AVIARY = ("--model", "world:aviary", "--writer", "none")
RUN = [sys.executable, "-m", "saywhy"]


@pytest.fixture
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("a model is loaded before the options are looked at")

    monkeypatch.setattr(Classifier, "load", load)
    monkeypatch.setattr(clip, "load_clip", load)
    monkeypatch.setattr(tuned, "load_tuned", load)


@pytest.mark.usefixtures("nothing_loads")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "lrpp"), ["did you mean lrp?"]),
        (("--composite", "epsilon-pluss"), ["epsilon-plus"]),
        (("--composite", "epsilon", "--method", "grad-cam"), ["--composite"]),
        (("--space", "clop"), ["no space 'clop'"]),
        (("--space", "world:narnia"), ["no world 'narnia'"]),
        (("--space", "clip:ViT-B-33/openai"), ["no architecture 'ViT-B-33'"]),
        (("--space", "tuned:none"), ["tuned:none", "there is no file"]),
        (("--space", "operated:none.safetensors"), ["there is no file none.safetensors"]),
        (("--vocabulary", "concept"), ["did you mean concepts"]),
        (("--writer", "world:narnia"), ["no world 'narnia'"]),
        (("--target", "5", "--num-classes", "5", "--checkpoint", "x.pth"), ["no such class", "0 to 4"]),
        (("--target", "-1"), ["no such class"]),
        (("--labels", "none.txt"), ["none.txt: no such file"]),
        (("--device", "cuda:99"), ["no device 'cuda:99'"]),
        (("--batch-size", "0"), ["--batch-size"]),
        (("--out", "/proc/none"), ["--out /proc/none"]),
        (("--out", __file__), ["--out"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_wrong_options_of_explain_are_noticed_before_a_model_is_loaded(
    options: tuple[str, ...], words: list[str]
) -> None:
    refused(saywhy("explain", BIRDS[0], "--model", "world:aviary", *options), *words)


@pytest.mark.usefixtures("nothing_loads")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "lrpp"), "no method 'lrpp'"),
        (("--objective", "ekor"), "ekor"),
        (("--conditional", "some"), "conditional"),
        (("--visible-from", "nan"), "visible-from"),
        (("--rationales", "none.json"), "none.json"),
        (("--out", "/proc/none"), "--out"),
    ],
)
def test_wrong_options_of_why_are_noticed_before_a_model_is_loaded(options: tuple[str, ...], words: str) -> None:
    refused(saywhy("why", BIRDS[0], "--space", "world:aviary", *options), words)
    refused(saywhy("why", BIRDS[0], "--space", "clop"), "no space 'clop'")


@pytest.mark.usefixtures("nothing_loads")
def test_no_model_is_loaded_for_no_picture(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for words in (["none.jpg"], [tmp_path, "*.nothing"]):
        result = saywhy("explain", *words, *AVIARY)
        assert result.returncode == 2
        assert result.stderr.count("saywhy: ") == len(words)


def test_folders_patterns_and_lists_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("a/1.png", "a/b/2.png", "3.png"):
        picture().save(name)
    Path("a/notes.txt").touch()
    Path("a/text.jpg").write_text("no picture")
    Path("names.txt").write_text("3.png\n3.png\n")
    result = saywhy("explain", "a", "*/*.png", "@names.txt", "none.jpg", *AVIARY, "--json")
    assert result.returncode == 1
    assert [json.loads(line)["picture"]["name"] for line in result.stdout.splitlines()] == ["1.png", "2.png", "3.png"]
    said = "saywhy: none.jpg:", "note: 1 file that is no picture", "note: 2 names are those of", "saywhy: a/text.jpg:"
    assert all(text in result.stderr for text in said), result.stderr
    quiet = saywhy("explain", "a", "@names.txt", *AVIARY, "--quiet", "-n", 4)
    assert (quiet.stdout, quiet.stderr.count("\n")) == ("", 1)
    assert quiet.stderr.startswith("saywhy: a/text.jpg:")


def test_json_goes_to_a_file_while_a_bar_is_on_the_terminal(tmp_path: Path) -> None:
    """Rich takes what is printed while a bar is shown; here it was all of the answer."""
    pty = pytest.importorskip("pty")
    ours, its = pty.openpty()
    with open(tmp_path / "out.jsonl", "wb") as out:
        process = subprocess.Popen([*RUN, "explain", *map(str, BIRDS), *AVIARY, "--json"], stdout=out, stderr=its)
    os.close(its)
    shown = b""
    try:
        while more := os.read(ours, 65536):
            shown += more
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    assert b"explaining" in shown
    assert len(shown) < 50_000
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["picture"]["name"] for line in lines] == [bird.name for bird in BIRDS]


def test_names_that_complete_are_all_there_are() -> None:
    from saywhy.bench import BENCHMARKS
    from saywhy.classifiers.outputs import TASKS
    from saywhy.classifiers.sources import SOURCES
    from saywhy.pictures.preprocessing import CROP_MODES, INTERPOLATIONS
    from saywhy.questions.names_and_defaults import SPACES, VOCABULARIES, check_space_name

    assert tuple(METHODS) == completion.METHODS
    assert set(completion.COMPOSITES) == set(COMPOSITES)
    assert set(completion.TASKS) == set(TASKS)
    assert (completion.CROP_MODES, completion.INTERPOLATIONS) == (CROP_MODES, INTERPOLATIONS)
    assert {name.split(":")[0] for name in completion.models()} == {*SOURCES, "python"}
    assert completion.vocabularies() == list(VOCABULARIES)
    assert completion.benchmarks() == list(BENCHMARKS)
    whole = [name for name in completion.spaces() if not name.endswith(":")]
    assert {name for name in SPACES if not name[-1].isupper()} == set(whole)
    for name in whole[:4]:
        check_space_name(name)


def test_a_shell_completes_words_without_loading_torch() -> None:
    code = "import sys, saywhy.cli.completion as c; c.models(), c.spaces(), c.vocabularies(), c.benchmarks()"
    code += "; sys.exit(any(m in sys.modules for m in ('torch', 'timm', 'transformers', 'open_clip')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    asked = {"COMP_WORDS": "saywhy explain --method gra", "COMP_CWORD": "3", "_SAYWHY_COMPLETE": "complete_bash"}
    code = "import sys; sys.argv = ['saywhy']; from saywhy.cli.app import main; main()"
    result = subprocess.run([sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True)
    assert result.stdout.split() == ["gradient-x-input", "grad-cam"]


def test_short_options_and_the_version() -> None:
    assert saywhy("-V").stdout == saywhy("--version").stdout
    assert saywhy("explain", "-h").stdout == saywhy("explain", "--help").stdout
    for command, short in (("explain", "msotqndb"), ("why", "soqndb"), ("ask", "msoqndb")):
        shown = saywhy(command, "--help").stdout
        assert all(f" -{letter} " in shown for letter in short), command
        assert "Examples:" in shown
