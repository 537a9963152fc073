"""Readers of sentence files: each format once right, and what they say of files that are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from saywhy.errors import SaywhyError
from saywhy.words.caption_files import (
    CaptionedPicture,
    match_references,
    read_explanations,
    read_magic,
    read_references,
    read_results,
)


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def _write(content: object, name: str = "file.json") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return _write


def karpathy(name: str, split: str = "test", **more: object) -> dict[str, object]:
    return {"filename": name, "split": split, "sentences": [{"raw": f"one of {name}"}, {"raw": "two"}], **more}


# -- COCO -------------------------------------------------------------------------------------------------------------


def test_karpathys_split(write: Any) -> None:
    file = write(
        {
            "images": [
                karpathy("a.jpg", cocoid=7, imgid=0, filepath="val2014"),
                karpathy("b.jpg", "train"),
                karpathy("c.jpg", imgid=2),
                karpathy("d.jpg"),
            ]
        }
    )
    assert read_references(file) == [
        CaptionedPicture("7", "val2014/a.jpg", ("one of a.jpg", "two")),
        CaptionedPicture("2", "c.jpg", ("one of c.jpg", "two")),
        CaptionedPicture("d.jpg", "d.jpg", ("one of d.jpg", "two")),
    ]
    assert [record.file for record in read_references(file, "train")] == ["b.jpg"]
    with pytest.raises(SaywhyError, match="no picture is in the split 'val'; there are test, train"):
        read_references(file, "val")


def test_cocos_own_annotations(write: Any) -> None:
    annotations = [{"image_id": 7, "caption": "x"}, {"image_id": 8, "caption": "y"}, {"image_id": 7, "caption": "z"}]
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}, {"id": 9, "file_name": "c.jpg"}]
    records = read_references(write({"images": images, "annotations": annotations}))
    assert records == [CaptionedPicture("7", "a.jpg", ("x", "z")), CaptionedPicture("8", "b.jpg", ("y",))]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ([], 'expected an object with a list "images"'),
        ({"pictures": []}, 'expected an object with a list "images"'),
        ({"images": []}, "there are no pictures"),
        ({"images": ["a"]}, 'expected an object with a list "images"'),
        ({"images": [{"split": "test"}]}, 'lacks "filename"'),
        ({"images": [{"split": "test", "filename": "a", "sentences": []}]}, 'a text "raw"'),
        ({"images": [{"split": "test", "filename": "a", "sentences": [{"raw": 1}]}]}, 'a text "raw"'),
        ({"images": [karpathy("a", imgid=1), karpathy("b", imgid=1)]}, "1 is listed twice"),
        ({"images": [{"id": 1}], "annotations": {}}, 'each of "annotations"'),
        ({"images": [{"id": 1}], "annotations": [{"image_id": 1}]}, 'each of "annotations"'),
        ({"images": [{"id": 1}], "annotations": []}, "none of its pictures has a caption"),
    ],
)
def test_references_that_are_not(write: Any, content: object, said: str) -> None:
    with pytest.raises(SaywhyError, match=said) as error:
        read_references(write(content))
    assert "\n" not in str(error.value)


def test_results(write: Any) -> None:
    items = [{"image_id": 391895, "caption": "a"}, {"image_id": "b.jpg", "caption": "ü", "score": 1}]
    assert read_results(write(items)) == {"391895": "a", "b.jpg": "ü"}
    assert read_results(write("\ufeff" + json.dumps(items))) == {"391895": "a", "b.jpg": "ü"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "list of objects"),
        ([], "list of objects"),
        (["a"], "list of objects"),
        ([{"caption": "a"}], 'needs "image_id"'),
        ([{"image_id": 1, "caption": ["a"]}], 'needs "image_id"'),
        ([{"image_id": 1, "caption": "a"}, {"image_id": "1", "caption": "b"}], "1 has two captions"),
    ],
)
def test_results_that_are_not(write: Any, content: object, said: str) -> None:
    with pytest.raises(SaywhyError, match=said):
        read_results(write(content))


def test_results_meet_references_by_id_or_file(write: Any) -> None:
    records = [CaptionedPicture("7", "val/a.jpg", ("x",)), CaptionedPicture("8", "b.jpg", ("y",))]
    both = {"7": "A", "8": "B"}, {"7": ("x",), "8": ("y",)}
    assert match_references({"7": "A", "8": "B"}, records) == both
    assert match_references({"a.jpg": "A", "b.jpg": "B"}, records) == both
    assert match_references({"val/a.jpg": "A"}, records) == ({"7": "A"}, {"7": ("x",)})
    with pytest.raises(SaywhyError, match="1 of 2 captions are for pictures without references"):
        match_references({"9": "A", "8": "B"}, records)
    with pytest.raises(SaywhyError, match="two captions are for the same picture"):
        match_references({"7": "A", "a.jpg": "B"}, records)


# -- MAGIC ------------------------------------------------------------------------------------------------------------


def test_magics_format(write: Any) -> None:
    items = [{"split": "test", "image_name": "a.jpg", "captions": ["x", "y"], "prediction": "p"}]
    assert read_magic(write(items)) == ({"a.jpg": "p"}, {"a.jpg": ("x", "y")})


def test_magics_published_file(pack: Path) -> None:
    candidates, references = read_magic(pack / "text" / "captions" / "coco_magic_result.json")
    assert len(candidates) == len(references) == 4982
    assert candidates["COCO_val2014_000000391895.jpg"] == "A view of a traffic light from a motorcycle."
    assert {len(texts) for texts in references.values()} == {5, 6}


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"image_name": "a", "prediction": "p"}, '"captions"'),
        ({"image_name": "a", "captions": [], "prediction": "p"}, '"captions"'),
        ({"image_name": "a", "captions": ["x"], "prediction": 3}, '"prediction"'),
        ({"captions": ["x"], "prediction": "p"}, '"image_name"'),
    ],
)
def test_magics_format_that_is_not(write: Any, item: object, said: str) -> None:
    with pytest.raises(SaywhyError, match=said):
        read_magic(write([item]))
    good = {"image_name": "a", "captions": ["x"], "prediction": "p"}
    with pytest.raises(SaywhyError, match="a is listed twice"):
        read_magic(write([good, good]))


# -- explanations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        [{"image": "a.jpg", "explanation": "long bill"}, {"image": "b.jpg", "explanation": ["red", "small"]}],
        [{"img": "a.jpg", "caption": "long bill"}, {"img": "b.jpg", "caption": ["red", "small"]}],
        [{"filename": "a.jpg", "answer": "long bill"}, {"filename": "b.jpg", "answer": ["red", "small"]}],
        [{"image_id": "a.jpg", "explanation": "long bill", "answer": "toucan"}]
        + [{"image_id": "b.jpg", "explanation": text, "answer": "robin"} for text in ("red", "small")],
        {"a.jpg": "long bill", "b.jpg": ["red", "small"]},
        {"a.jpg": {"explanation": "long bill"}, "b.jpg": {"explanation": [" red ", "small"]}},
        {
            "11": {
                "img_path": ["a.jpg", "other.jpg"],
                "question": "q",
                "answer": "toucan",
                "explanation": ["long bill"],
            },
            "12": {"img_path": "b.jpg", "question": "q", "answer": "robin", "explanation": ["red", "small"]},
        },
    ],
)
def test_explanations(write: Any, content: object) -> None:
    assert read_explanations(write(content)) == {"a.jpg": ("long bill",), "b.jpg": ("red", "small")}


def test_explanations_in_a_csv(write: Any) -> None:
    text = 'image,class,explanation\na.jpg,toucan,"long, hooked bill"\nb.jpg,robin,red\nb.jpg,robin,small\n'
    expected = {"a.jpg": ("long, hooked bill",), "b.jpg": ("red", "small")}
    assert read_explanations(write(text, "file.csv")) == expected


def test_numbers_become_strings(write: Any) -> None:
    assert read_explanations(write([{"image_id": 5, "caption": "x"}])) == {"5": ("x",)}


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        ("not json", "f.json", "not JSON"),
        ("3", "f.json", "list of objects"),
        ("{}", "f.json", "contains no explanations"),
        ('[{"image": "a"}]', "f.json", "a: no sentence"),
        ('[{"image": "a", "explanation": [3]}]', "f.json", "a: no sentence"),
        ('[{"image": "a", "explanation": " "}]', "f.json", "a: no sentence"),
        ('[{"explanation": "a"}]', "f.json", "no picture"),
        ('{"a": null}', "f.json", "a: no sentence"),
        ("image,explanation\n", "f.csv", "a header and at least one row"),
        ("a.jpg,long bill\nb.jpg,red\n", "f.csv", "no picture"),
        ("image,explanation\na.jpg\n", "f.csv", "a.jpg: no sentence"),
    ],
)
def test_explanations_that_are_not(write: Any, content: str, name: str, said: str) -> None:
    with pytest.raises(SaywhyError, match=said):
        read_explanations(write(content, name))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes("[ü]".encode("latin-1"))
    for path, said in (
        (tmp_path, "is a folder"),
        (tmp_path / "none", "no such file"),
        (tmp_path / "latin", "UTF-8"),
    ):
        with pytest.raises(SaywhyError, match=said):
            read_results(path)
