"""The same work on Ray's actors gives the same table; a worker that is killed costs a retry."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from saywhy import SaywhyError
from saywhy.audits.audit import subject_of
from saywhy.audits.chunks import describe_chunk
from saywhy.audits.on_ray import Cluster, on_ray, packed, unpacked, workers_of
from saywhy.audits.options import AuditOptions
from saywhy.audits.run import run
from saywhy.audits.store import Store
from saywhy.audits.subject import Subject
from saywhy.audits.tables import as_table
from saywhy.classifiers.classifier import Classifier
from saywhy.pictures.collections import Entry, Listed, collection
from saywhy.spaces.clip import ClipSpace


@pytest.fixture(scope="module")
def subject() -> Iterator[Subject]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield small("world:aviary")
    torch.set_num_threads(threads)


def small(space: str, count: int = 10, chunk: int = 4) -> Subject:
    pictures = collection(["world:aviary"], count)
    options = AuditOptions(chunk=chunk, batch_size=chunk)
    return subject_of(pictures, Classifier.load("world:aviary", device="cpu"), options, space=space)


def rows(subject: Subject, number: int) -> pa.Table:
    return as_table("pictures", describe_chunk(subject, number).tables["pictures"])


@pytest.mark.parametrize("space", ["own", "world:aviary"])
def test_a_subject_can_be_pickled_and_does_the_same(space: str) -> None:
    here = small(space)
    assert rows(pickle.loads(pickle.dumps(here)), 1).equals(rows(here, 1))


def test_a_subject_is_unpacked_on_another_device(subject: Subject) -> None:
    pytest.importorskip("ray")
    assert rows(unpacked(packed(subject), "cpu"), 0).equals(rows(subject, 0))
    elsewhere = unpacked(packed(subject), "meta")  # the only other device that every machine has
    assert elsewhere.classifier.device.type == "meta"
    assert isinstance(elsewhere.space, ClipSpace)
    assert elsewhere.space.device.type == "meta"
    assert elsewhere.classifier.network is not subject.classifier.network
    assert subject.classifier.device.type == "cpu"


OWN = """
import torch
from torchvision import transforms as T
import saywhy
from beside import Mean

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head, self.pool = torch.nn.Conv2d(3, 8, 3), torch.nn.Linear(8, 2), Mean()
    def forward(self, x):
        return self.head(self.pool(self.body(x).relu()))

def made():
    return saywhy.Classifier.from_module(Net().eval(), transform=T.Compose([T.Resize((32, 32)), T.ToTensor()]))
"""


def test_a_network_of_ones_own_goes_to_processes_that_have_no_such_file(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "net.py").write_text(OWN)
    beside = "import torch\nclass Mean(torch.nn.Module):\n    def forward(self, x):\n        return x.mean((2, 3))\n"
    (folder / "beside.py").write_text(beside)
    pictures = collection(["world:aviary"], 2)

    def of(name: str) -> Subject:
        classifier = Classifier.load(f"python:{folder}/net.py:{name}", device="cpu")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the birds that it has no class for
            return subject_of(pictures, classifier, AuditOptions(), space="world:aviary")

    (tmp_path / "packed").write_bytes(packed(of("made")))
    shutil.rmtree(folder)
    script = (
        "import sys, torch; from saywhy.audits.on_ray import unpacked\n"
        "found = unpacked(open(sys.argv[1], 'rb').read(), 'cpu').classifier\n"
        "print(found.logits(torch.ones(1, 3, 32, 32)).shape)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "packed"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.stdout.strip() == "torch.Size([1, 2])", result.stderr


def test_what_cannot_be_sent_to_workers_is_one_line(subject: Subject) -> None:
    pytest.importorskip("ray")
    network = deepcopy(subject.classifier.network)
    network.lock = threading.Lock()  # type: ignore[assignment]
    locked = replace(subject, classifier=replace(subject.classifier, network=network))
    with pytest.raises(SaywhyError, match=r"cannot be pickled \(TypeError: .*lock.*use --engine local"):
        packed(locked)


def test_without_ray_one_line_says_what_to_install(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SaywhyError, match=r"pip install 'saywhy\[ray\]'"):
        list(on_ray(subject, [0], lambda count: None))


def test_nothing_left_to_do_starts_nothing(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert list(on_ray(subject, [], lambda count: None)) == []


def test_workers_fit_what_ray_has() -> None:
    few, many = {"CPU": 8.0}, {"CPU": 8.0, "GPU": 2.0}
    assert workers_of(few, Cluster(), gpu=False) == (8, 0)
    assert workers_of(few, Cluster(threads=3), gpu=False) == (2, 0)
    assert workers_of(many, Cluster(), gpu=True) == (2, 1)
    assert workers_of(many, Cluster(workers=1), gpu=True) == (1, 1)
    assert workers_of(many, Cluster(workers=5), gpu=True) == (5, 1 / 3)  # three on one, two on the other
    for resources, cluster, gpu in ((few, Cluster(workers=9), False), (few, Cluster(), True), ({}, Cluster(), False)):
        with pytest.raises(SaywhyError, match="Ray has"):
            workers_of(resources, cluster, gpu)


def table(store: Store, name: str) -> list[dict[str, Any]]:
    order = "number, region" if name == "regions" else "number"
    return store.view().sql(f"SELECT * FROM {name} ORDER BY {order}").to_pylist()


@pytest.mark.slow
def test_two_workers_give_the_same_table(subject: Subject, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    told: list[int] = []
    here, there = (Store.create(tmp_path / name, subject.story()) for name in ("here", "there"))
    run(subject, here)
    run(subject, there, "ray", told.append, workers=2)
    for name in ("pictures", "regions", "errors"):
        assert table(here, name) == table(there, name)
    assert sum(told) == 10
    run(subject, there, "ray", told.append, workers=2)  # all is there
    assert sum(told) == 10


@pytest.fixture
def by_value() -> Iterator[None]:
    """Workers cannot import this file, which stands in no package."""
    cloudpickle = pytest.importorskip("ray").cloudpickle
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.mark.slow
@pytest.mark.usefixtures("by_value")
def test_a_killed_worker_costs_a_retry(subject: Subject, tmp_path: Path) -> None:
    mark = tmp_path / "killed"
    entries = [replace(subject.pictures[n], open=_Killing(mark, subject.pictures[n], n)) for n in range(10)]
    deadly = replace(subject, pictures=Listed("deadly", entries))
    here, there = (Store.create(tmp_path / name, subject.story()) for name in ("here", "there"))
    run(subject, here)
    run(deadly, there, "ray", workers=2)
    assert mark.exists()
    for name in ("pictures", "regions", "errors"):
        assert table(here, name) == table(there, name)


class _Killing:
    """Opens a picture; the first that opens picture 5 is killed, as by the kernel."""

    def __init__(self, mark: Path, entry: Entry, number: int) -> None:
        self.mark, self.entry, self.number = mark, entry, number

    def __call__(self) -> Any:
        if self.number == 5 and not self.mark.exists():
            self.mark.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        return self.entry.open()


@pytest.mark.slow
@pytest.mark.usefixtures("by_value")
def test_what_is_wrong_in_a_worker_is_one_line(subject: Subject) -> None:
    broken = replace(subject, pictures=_Broken(SaywhyError("the list of pictures is damaged")))
    with pytest.raises(SaywhyError, match="the list of pictures is damaged"):
        list(on_ray(broken, [0], lambda count: None, Cluster(workers=1)))
    unknown = replace(subject, pictures=_Broken(ZeroDivisionError("a fault")))
    with pytest.raises(SaywhyError, match=r"the work on Ray failed \(ZeroDivisionError: a fault\)"):
        list(on_ray(unknown, [0], lambda count: None, Cluster(workers=1)))
    with pytest.raises(SaywhyError, match=r"Ray cannot be reached at 127\.0\.0\.1:1 "):
        list(on_ray(subject, [0], lambda count: None, Cluster("127.0.0.1:1")))


class _Broken:
    name = digest = "broken"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 4

    def __getitem__(self, number: int) -> Entry:
        raise self.error


def test_packing_needs_no_file(subject: Subject) -> None:
    pytest.importorskip("ray")
    assert io.BytesIO(packed(subject)).read(2) == b"PK"
