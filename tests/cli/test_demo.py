"""The demo: photographs and rendered birds, on one page, with nothing but what is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from saywhy.answers.explanation import Explanation
from saywhy.pictures.photos import PHOTOS


@pytest.mark.slow
def test_the_demo_explains_photographs_and_birds_on_one_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "saywhy", "demo", "--out", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "demo" / "index.html").read_text("utf-8")
    assert all(f"What {model} says" in page for model in ("imagenet:efficientnet-lite0", "world:aviary"))
    answers = [Explanation.from_json(path.read_text()) for path in sorted((tmp_path / "demo").glob("*.json"))]
    assert len(answers) == sum(photo.licensed for photo in PHOTOS.values()) + 7
    assert answers[0].target.name == "espresso"
    assert "Rachel Michetti" in done.stderr
