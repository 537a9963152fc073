"""The command line as a person types it, with everything that a person can get wrong."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from PIL import Image

from saywhy.answers.explanation import Explanation
from saywhy.cli.app import main
from tests.classifiers.test_classifier import NAMES, timm_directory
from tests.helpers import picture, sample_images


def saywhy(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in this process: as the console script runs it, without loading torch each time."""
    command = ["saywhy", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", command)
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"timm:{timm_directory(tmp_path_factory.mktemp('models') / 'net', NAMES)}"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    picture(200, 150).save(path)
    return path


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result.stderr
    assert all(word in result.stderr for word in words), result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout


def test_one_command_gives_words_a_report_and_a_record(model: str, photo: Path, tmp_path: Path) -> None:
    result = saywhy("explain", photo, "--model", model, "--out", tmp_path / "why", "--pictures", "--phrase", "a beak")
    assert result.returncode == 0, result.stderr
    assert "It " in result.stdout
    assert "the classifier itself" in result.stdout
    assert sorted(p.name for p in (tmp_path / "why").iterdir()) == [
        "001-photo.json", "001-photo.png", "index.html", "pictures.csv", "pictures.parquet", "regions.csv",
        "regions.parquet",
    ]  # fmt: skip
    record = Explanation.from_json((tmp_path / "why" / "001-photo.json").read_text())
    assert record.target.name in NAMES
    assert "classes teach" in record.silence  # five are too few to learn words from
    assert (record.claims, record.phrases) == ((), ())


def test_a_phrase_is_asked_for_where_a_space_knows_words() -> None:
    result = saywhy("explain", sample_images()[0], "--model", "world:aviary", "--phrase", "a beak")
    assert "asked for: a beak (" in result.stdout, result.stderr


def test_the_task_of_a_classifier_can_be_said(model: str, photo: Path) -> None:
    options = ["--model", model, "--space", "world:aviary", "--json"]
    one, several = (saywhy("explain", photo, *options, *more) for more in ([], ["--task", "multi-label"]))
    assert "task" not in json.loads(one.stdout)["settings"]
    assert json.loads(several.stdout)["settings"]["task"] == "multi-label"
    assert sum(p["probability"] for p in json.loads(one.stdout)["predictions"]) == pytest.approx(1)
    assert sum(p["probability"] for p in json.loads(several.stdout)["predictions"]) > 1.5
    refused(saywhy("explain", photo, *options, "--task", "binary"), "has 5 logits, and task='binary' is for one")


def test_every_label_that_is_said_is_explained(model: str, photo: Path, tmp_path: Path) -> None:
    options = ["--model", model, "--space", "world:aviary", "--task", "multi-label", "--threshold", "0"]
    result = saywhy("explain", photo, *options, "--target", "all", "--out", tmp_path / "why")
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "why" / "index.html").read_text()
    assert page.count("explained here is what speaks for") == len(NAMES)
    assert all(f"what speaks for {name}" in " ".join(result.stdout.replace("│", " ").split()) for name in NAMES)
    two = saywhy("explain", photo, *options, "--target", NAMES[2], "--target", "0", "--json")
    document = json.loads(two.stdout)
    assert [document["target"]["name"], *(d["target"]["name"] for d in document["more"])] == [NAMES[2], NAMES[0]]
    assert document["settings"]["thresholds"] == dict.fromkeys(NAMES, 0.0)
    refused(saywhy("explain", photo, "--model", model, "--threshold", "0.3"), "a threshold is for task='multi-label'")


def test_bad_pictures_are_named_and_the_others_done(model: str, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.png").touch()
    picture().save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    Image.new("1", (20000, 20000)).save(tmp_path / "huge.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    picture().convert("CMYK").save(tmp_path / "cmyk.jpg")
    good = [photo, tmp_path / "dot.png", tmp_path / "cmyk.jpg"]
    bad = [tmp_path / n for n in ("none.jpg", "text.jpg", "empty.png", "cut.png", "huge.png", "bare")]
    (tmp_path / "bare").mkdir()
    result = saywhy("explain", *bad[:3], *good, *bad[3:], "--model", model, "--json")
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert [Explanation.from_json(line).picture.name for line in lines] == ["photo.jpg", "dot.png", "cmyk.jpg"]
    assert all(f"saywhy: {path}" in result.stderr for path in bad)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--space", "clop"], ["no space 'clop'"]),
        (["--vocabulary", "concept"], ["did you mean concepts"]),
        (["--method", "lrpp"], ["no method 'lrpp'; did you mean lrp?"]),
        (["--composite", "epsilon-pluss"], ["epsilon-plus"]),
        (["--composite", "epsilon", "--method", "grad-cam"], ["--composite"]),
        (["--target", "snake"], ["king snake"]),
        (["--target", "77"], ["0 to 4"]),
        (["--labels", "none.txt"], ["no such file"]),
        (["--regions", "0"], ["regions"]),
        (["--device", "cuda:99"], ["no device 'cuda:99'", "cpu is always there"]),
    ],
)
def test_wrong_options_are_usage_errors(model: str, photo: Path, options: list[str], words: list[str]) -> None:
    refused(saywhy("explain", photo, "--model", model, *options), *words)


def test_wrong_models_and_files_are_usage_errors(model: str, photo: Path, tmp_path: Path) -> None:
    refused(saywhy("explain", photo, "--model", "timm:resnet5"), "did you mean resnet50")
    (tmp_path / "names.txt").write_text("one\ntwo")
    refused(
        saywhy("explain", photo, "--model", model, "--labels", tmp_path / "names.txt"), "2 class names", "5 classes"
    )
    (tmp_path / "taken").write_text("a file")
    refused(saywhy("explain", photo, "--model", model, "--out", tmp_path / "taken"), "--out")
    (tmp_path / "words.txt").write_text("\n\n")
    refused(saywhy("explain", photo, "--model", model, "--vocabulary", tmp_path / "words.txt"), "no phrase")


def test_a_model_without_linear_head_cannot_have_its_own_space(photo: Path) -> None:
    model = ("--model", "torchvision:squeezenet1_0", "--random-weights")
    refused(saywhy("explain", photo, *model, "--space", "own"), "no linear head")
    assert saywhy("explain", photo, *model, "--space", "world:aviary").returncode == 0


def test_a_vocabulary_with_duplicates_is_used_and_noted(model: str, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("red\n\nred\nblue\ngreen\n")
    result = saywhy("explain", photo, "--model", model, "--vocabulary", tmp_path / "words.txt")
    assert result.returncode == 0
    assert "1 duplicates and 1 empty" in result.stderr


def test_ctrl_c_keeps_what_is_done(model: str, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "why"
    photos.mkdir()
    picture(400, 300).save(photos / "0.jpg")
    for n in range(1, 400):
        (photos / f"{n}.jpg").hardlink_to(photos / "0.jpg")
    # What was started in the background of a script ignores SIGINT, and so does all that it starts.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import saywhy.cli.app as c; c.main()"
    )
    command = [sys.executable, "-c", code, "explain", str(photos), "--model", model]
    command += ["--out", str(out), "--batch-size", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and len(list(out.glob("*.json"))) < 2:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    done = len(list(out.glob("*.json")))
    assert 2 <= done < 400
    assert (out / "index.html").read_text().count('class="card"') in (done, done - 1)


def test_help_is_quick_and_models_and_doctor_answer() -> None:
    code = (
        "import sys, saywhy, saywhy.cli.app; sys.exit(any(m in sys.modules for m in ('torch', 'timm', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert "explain" in saywhy("--help").stdout
    models = saywhy("models").stdout
    assert all(word in models for word in ("world:aviary", "imagenet", "photos:coffee", "photos:all"))
    doctor = saywhy("doctor")
    assert doctor.returncode == 0
    assert all(
        word in doctor.stdout for word in ("torch", "hub", "cache", "device", "EfficientNet-Lite0", "photographs")
    )
    assert saywhy("--version").stdout.startswith("saywhy 0.")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("why",), ("--space", "--rationales", "--reference", "--conditional")),
        (("data", "check"), ("--rationales", "--split", "--json")),
        (("train", "prompts"), ("--data", "--recipe", "--objective", "--resume")),
        (("world", "write"), ("--layout", "doubly-right")),
        (("bench", "ecor"), ("--train-on", "--test-on", "--recipe", "--seeds")),
    ],
    ids=lambda value: " ".join(value),
)
def test_commands_are_there_and_say_what_they_take(
    command: tuple[str, ...], words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    result = saywhy(*command, "--help")
    assert result.returncode == 0, result.stderr
    assert all(word in result.stdout for word in words), result.stdout


def test_an_aviary_with_rationales_is_written_and_checked(tmp_path: Path) -> None:
    out = tmp_path / "birds"
    written = saywhy("world", "write", "aviary", "--out", out, "--layout", "doubly-right", "--train", 3, "--test", 2)
    assert written.returncode == 0, written.stderr
    result = saywhy("data", "check", out, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert {name: split["pictures"] for name, split in found["splits"].items()} == {"train": 3, "test": 2}
    assert found["skipped"] == 0
    refused(
        saywhy("world", "write", "aviary", "--out", out, "--layout", "doubly"), "no layout 'doubly'", "doubly-right"
    )
    refused(
        saywhy("world", "write", "aviary-bill", "--out", out, "--layout", "doubly-right"),
        "only the aviary",
        "aviary-bill",
    )


def test_bench_lists_and_refuses() -> None:
    assert "lrp-speed" in saywhy("bench").stdout
    refused(saywhy("bench", "lrp-sped"), "lrp-speed")


def test_a_benchmark_has_its_own_options_and_no_others() -> None:
    shown = saywhy("bench", "lrp-clip", "--help").stdout
    assert all(option in shown for option in ("--limit", "--out", "--data", "--model", "--space"))
    assert not [option for option in ("--seeds", "--mappers", "--painter") if option in shown]
    assert "[default: (world:aviary)]" in shown
    both = saywhy("bench", "concepts", "nle", "--help").stdout
    assert all(option in both for option in ("--bank", "--painter"))
    refused(saywhy("bench", "lrp-speed", "--data", "x"), "--data")
    for words in ((), ("--help",)):
        assert "lrp-speed" in saywhy("bench", *words).stdout


@pytest.mark.slow
def test_a_benchmark_ends_with_one_json_document(tmp_path: Path) -> None:
    result = saywhy("bench", "lrp-speed", "--limit", "1", "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout.splitlines()[-1])
    assert document == json.loads((tmp_path / "lrp-speed.json").read_text())
    ratios = {(r["network"], r["what"]): r["ratio"] for r in document["rows"]}
    assert ratios["resnet50", "one forward, one backward"] == 1
    assert ratios["resnet50", "saywhy epsilon-plus"] < ratios["resnet50", "zennit epsilon-plus"]


def test_a_world_is_written_trained_on_and_measured(tmp_path: Path) -> None:
    """The commands of docs/lrp-clip.md, in small."""
    birds, net, out = tmp_path / "birds", tmp_path / "net", tmp_path / "out"
    result = saywhy("world", "write", "aviary-colour", "--out", birds, "--train", 12, "--test", 3, "--size", 48)
    assert result.returncode == 0, result.stderr
    assert (birds / "truth.csv").exists()
    result = saywhy(
        "train", "classifier", "--data", birds, "--out", net, "--arch", "timm:test_vit", "--no-pretrained",
        "--epochs", 1, "--size", 48, "--batch-size", 4, "--workers", 0,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["settings"]["arch"] == "timm:test_vit"
    result = saywhy("bench", "lrp-clip", "--data", birds, "--model", f"timm:{net}", "--space", "own", "--out", out)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1])["pictures"] == 3
    assert {path.name for path in out.iterdir()} == {"lrp-clip.json", "lrp-clip.png"}


def test_wrong_worlds_data_and_architectures_are_usage_errors(tmp_path: Path) -> None:
    refused(saywhy("world", "write", "narnia", "--out", tmp_path / "x"), "no aviary 'narnia'", "aviary-bill")
    refused(saywhy("bench", "lrp-clip", "--data", tmp_path), "needs --model")
    refused(saywhy("bench", "lrp-clip", "--data", tmp_path, "--model", "world:aviary"), "no images.txt")
    refused(saywhy("bench", "lrp-clip", "--data", "world:digits"), "has no birds")
    refused(saywhy("train", "classifier", "--data", tmp_path, "--out", tmp_path / "y"), "no images.txt")
