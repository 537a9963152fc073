"""Features are computed once, kept on disk, and never mixed up."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision import transforms

from saywhy.classifiers import feature_cache
from saywhy.classifiers.feature_cache import cached_features
from saywhy.errors import SaywhyError
from saywhy.pictures.geometry import Transform
from saywhy.pictures.reading import read_picture
from saywhy.plumbing.caches import CacheWarning
from tests.helpers import picture, tiny_classifier


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAYWHY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{n}.png" for n in range(5)]
    for n, path in enumerate(found):
        picture(seed=n).save(path)
    return found


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures that were read."""
    names: list[str] = []

    def reading(path: Path) -> object:
        names.append(path.name)
        return read_picture(path)

    monkeypatch.setattr(feature_cache, "read_picture", reading)
    return names


def test_a_second_time_no_picture_is_read(paths: list[Path], read: list[str]) -> None:
    classifier = tiny_classifier()
    first = cached_features(classifier, paths, batch_size=2)
    assert read == [path.name for path in paths]
    again = cached_features(classifier, paths)
    assert len(read) == len(paths)
    assert torch.equal(first, again)
    expected = classifier.features(classifier.preprocess([read_picture(path) for path in paths]))
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-5)


def test_other_pictures_in_another_order_are_others(paths: list[Path], read: list[str]) -> None:
    classifier = tiny_classifier()
    first = cached_features(classifier, paths)
    torch.testing.assert_close(cached_features(classifier, paths[::-1]), first.flip(0))
    assert len(cached_features(classifier, paths[:2])) == 2
    assert len(read) == 12


def test_a_changed_picture_is_read_again(paths: list[Path], read: list[str]) -> None:
    classifier = tiny_classifier()
    first = cached_features(classifier, paths)
    status = paths[3].stat()
    os.utime(paths[3], ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))  # touched
    assert torch.equal(cached_features(classifier, paths), first)
    assert len(read) == 10
    picture(seed=99).save(paths[3])
    changed = (cached_features(classifier, paths) != first).any(1)
    assert changed.tolist() == [False, False, False, True, False]
    assert len(read) == 15


def test_other_weights_are_another_key(paths: list[Path], read: list[str]) -> None:
    one, other = tiny_classifier(), tiny_classifier()
    assert not torch.equal(cached_features(one, paths), cached_features(other, paths))
    assert len(read) == 10


def test_a_damaged_file_is_begun_anew(paths: list[Path], read: list[str], tmp_path: Path) -> None:
    classifier = tiny_classifier()
    first = cached_features(classifier, paths)
    (kept,) = (tmp_path / "cache" / "features").iterdir()
    kept.write_bytes(kept.read_bytes()[:-10])
    for _ in range(2):
        assert torch.equal(cached_features(classifier, paths), first)
    assert len(read) == 10  # once, and once more


def test_a_flipped_bit_is_noticed(paths: list[Path], read: list[str], tmp_path: Path) -> None:
    classifier = tiny_classifier()
    first = cached_features(classifier, paths)
    (kept,) = (tmp_path / "cache" / "features").iterdir()
    content = bytearray(kept.read_bytes())
    content[-3] ^= 64
    kept.write_bytes(content)
    assert torch.equal(cached_features(classifier, paths), first)
    assert len(read) == 10


def test_transforms_that_look_alike_are_other_keys(paths: list[Path], read: list[str]) -> None:
    """torchvision shows every Lambda as "Lambda()"."""

    def dimmed(by: float) -> Transform:
        return transforms.Compose(
            [transforms.Resize((32, 32)), transforms.ToTensor(), transforms.Lambda(lambda x: x * by)]
        )

    one = tiny_classifier()
    other = replace(one, transform=dimmed(0.5))
    assert repr(other.transform) == repr(dimmed(0.9))
    first, second = cached_features(other, paths), cached_features(replace(one, transform=dimmed(0.9)), paths)
    assert not torch.equal(first, second)
    assert torch.equal(cached_features(replace(one, transform=dimmed(0.5)), paths), first)
    assert len(read) == 10
    cached_features(replace(other, network=copy.deepcopy(one.network).double()), paths)  # another precision
    assert len(read) == 15


def test_a_transform_that_draws_is_not_kept(paths: list[Path], read: list[str], tmp_path: Path) -> None:
    drawing = transforms.Compose(
        [transforms.Resize((32, 32)), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    )
    classifier = replace(tiny_classifier(), transform=drawing)
    for _ in range(2):
        with pytest.warns(CacheWarning, match="another result each time: its features are not kept"):
            cached_features(classifier, paths)
    assert len(read) == 10
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_where_they_cannot_be_kept_they_are_there_all_the_same(
    paths: list[Path], read: list[str], tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "features").write_text("in the way")
    classifier = tiny_classifier()
    with pytest.warns(CacheWarning, match="cannot be used"):
        assert len(cached_features(classifier, paths)) == 5


@pytest.mark.parametrize(("content", "reason"), [(b"no picture", "not a picture"), (b"", "empty"), (None, "no such")])
def test_what_cannot_be_read_is_one_line(paths: list[Path], content: bytes | None, reason: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(SaywhyError, match=reason) as caught:
        cached_features(tiny_classifier(), [*paths, bad])
    assert str(bad) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
