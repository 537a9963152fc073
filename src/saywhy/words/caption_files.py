"""Files of sentences about pictures: captions and their references, and explanations. Each reader says what is wrong.

Pictures are known by strings: an id, or a file's name. Numbers become strings ("391895").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, final

from saywhy.errors import SaywhyError
from saywhy.plumbing.texts import read_json, read_table

PICTURE_KEYS = ("image", "img", "img_path", "image_path", "image_id", "img_id", "image_name", "img_name", "filename",
                "file_name", "file", "id")  # fmt: skip
SENTENCE_KEYS = ("explanation", "explanations", "caption", "captions", "sentence", "text", "answer")
"""Looked for in this order; an ImageNet-X record has both an answer (the class) and an explanation."""


@final
@dataclass(frozen=True)
class CaptionedPicture:
    """A picture and what people wrote of it. file: its path inside the folder of pictures."""

    id: str
    file: str
    references: tuple[str, ...]


def read_references(path: str | Path, split: str = "test") -> list[CaptionedPicture]:
    """The pictures of one split of a COCO-Karpathy-like JSON, or all of one in COCO's own caption format.

    Karpathy: {"images": [{"filepath", "filename", "cocoid" or "imgid", "split", "sentences": [{"raw"}]}]}; his
    "restval" belongs to the training half. COCO: {"images": [{"id", "file_name"}], "annotations": [{"image_id",
    "caption"}]}, whose split is the file.
    """
    document = read_json(path)
    images = document.get("images") if isinstance(document, dict) else None
    if not isinstance(images, list) or not all(isinstance(image, dict) for image in images):
        raise SaywhyError(f'{path}: not in Karpathy\'s format: expected an object with a list "images"')
    if "annotations" in document:
        return _coco(path, images, document["annotations"])
    chosen = [image for image in images if image.get("split") == split]
    if not chosen:
        splits = sorted({str(image.get("split")) for image in images})
        raise SaywhyError(
            f"{path}: no picture is in the split {split!r}; there are {', '.join(splits) or 'no pictures'}"
        )
    return _distinct(path, [_karpathy(path, image) for image in chosen])


def _karpathy(path: str | Path, image: Mapping[str, Any]) -> CaptionedPicture:
    name = image.get("filename")
    sentences = image.get("sentences")
    if not isinstance(name, str) or not isinstance(sentences, list):
        raise SaywhyError(f'{path}: a picture lacks "filename" or "sentences": {str(image)[:80]}')
    texts = [sentence.get("raw") if isinstance(sentence, dict) else None for sentence in sentences]
    if not _texts(texts):
        raise SaywhyError(f'{path}: {name}: each of its "sentences" needs a text "raw", and there must be at least one')
    key = next((image[key] for key in ("cocoid", "imgid") if image.get(key) is not None), name)
    folder = image.get("filepath")
    return CaptionedPicture(str(key), f"{folder}/{name}" if folder else name, tuple(texts))


def _coco(path: str | Path, images: Sequence[Mapping[str, Any]], annotations: Any) -> list[CaptionedPicture]:
    texts: dict[str, list[str]] = {}
    for annotation in annotations if isinstance(annotations, list) else [None]:
        if not isinstance(annotation, dict) or not isinstance(annotation.get("caption"), str):
            raise SaywhyError(f'{path}: each of "annotations" needs "image_id" and a text "caption"')
        texts.setdefault(str(annotation.get("image_id")), []).append(annotation["caption"])
    records = [
        CaptionedPicture(key, str(image.get("file_name", key)), tuple(texts[key]))
        for image in images
        if (key := str(image.get("id"))) in texts
    ]
    if not records:
        raise SaywhyError(f"{path}: none of its pictures has a caption")
    return _distinct(path, records)


def _distinct(path: str | Path, records: list[CaptionedPicture]) -> list[CaptionedPicture]:
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            raise SaywhyError(f"{path}: the picture {record.id} is listed twice")
        seen.add(record.id)
    return records


def read_results(path: str | Path) -> dict[str, str]:
    """Picture id -> caption, of COCO's result format: [{"image_id", "caption"}]."""
    captions: dict[str, str] = {}
    for item in _items(path):
        if item.get("image_id") is None or not isinstance(item.get("caption"), str):
            raise SaywhyError(f'{path}: each item needs "image_id" and a text "caption"; found {str(item)[:80]}')
        key = str(item["image_id"])
        if key in captions:
            raise SaywhyError(f"{path}: the picture {key} has two captions; only one can be scored, so keep one")
        captions[key] = item["caption"]
    return captions


def read_magic(path: str | Path) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Captions and references by picture, of MAGIC's format: [{"image_name", "captions": [...], "prediction"}]."""
    candidates: dict[str, str] = {}
    references: dict[str, tuple[str, ...]] = {}
    for item in _items(path):
        name, texts, caption = item.get("image_name"), item.get("captions"), item.get("prediction")
        if isinstance(caption, list) and len(caption) == 1:
            caption = caption[0]
        if not isinstance(name, str) or not isinstance(caption, str) or not _texts(texts):
            raise SaywhyError(
                f'{path}: each item needs "image_name", "captions" (a list of texts) and a text "prediction"; '
                f"found {str(item)[:80]}"
            )
        if name in candidates:
            raise SaywhyError(f"{path}: the picture {name} is listed twice")
        candidates[name], references[name] = caption, tuple(texts)
    return candidates, references


def match_references(
    candidates: Mapping[str, str], records: Sequence[CaptionedPicture]
) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Captions and their references, both by the record's id, of the pictures that have a caption.

    A caption's key is the record's id, its file, or the file's name. Raises SaywhyError for one that fits no record.
    """
    ids = {name: record for record in records for name in (record.file, Path(record.file).name)}
    ids.update({record.id: record for record in records})
    unknown = [key for key in candidates if key not in ids]
    if unknown:
        raise SaywhyError(
            f"{len(unknown)} of {len(candidates)} captions are for pictures without references, e.g. {unknown[0]!r}; "
            "are both files from the same split?"
        )
    chosen = {ids[key].id: text for key, text in candidates.items()}
    if len(chosen) < len(candidates):
        raise SaywhyError("two captions are for the same picture, one by its id and one by its file; keep one")
    return chosen, {key: ids[key].references for key in chosen}


# -- explanations -----------------------------------------------------------------------------------------------------


def read_explanations(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Picture -> its explanations, of an ImageNet-X-like JSON or CSV.

    A list of objects, or a CSV with a header: a picture under one of PICTURE_KEYS, a sentence (or a list) under one of
    SENTENCE_KEYS; several items of one picture are joined. Or an object: picture or id -> a sentence, a list of them,
    or such an object (Uni-NLX's file has an id -> {"img_path": [...], "answer", "explanation"}; its first path counts).
    """
    if Path(path).suffix.lower() == ".csv":
        pairs: Iterable[tuple[str, Any]] = [_explanation(path, None, item) for item in _rows(path)]
    else:
        document = read_json(path)
        if isinstance(document, dict):
            pairs = [_explanation(path, key, item) for key, item in document.items()]
        else:
            pairs = [_explanation(path, None, item) for item in _items(path, document)]
    explanations: dict[str, tuple[str, ...]] = {}
    for picture, sentences in pairs:
        explanations[picture] = explanations.get(picture, ()) + sentences
    if not explanations:
        raise SaywhyError(f"{path}: contains no explanations")
    return explanations


def _explanation(path: str | Path, key: str | None, item: Any) -> tuple[str, tuple[str, ...]]:
    """(picture, sentences) of one item; key: what an object calls it."""
    picture: Any = key
    if isinstance(item, dict):
        picture = next((item[name] for name in PICTURE_KEYS if item.get(name) not in (None, "", [])), key)
        picture = picture[0] if isinstance(picture, list) else picture
        sentences = next((item[name] for name in SENTENCE_KEYS if item.get(name) not in (None, "", [])), None)
    else:
        sentences = item
    sentences = [sentences] if isinstance(sentences, str) else sentences
    if not isinstance(picture, str | int) or not str(picture).strip():
        raise SaywhyError(f"{path}: no picture (one of {', '.join(PICTURE_KEYS)}) in {str(item)[:80]}")
    if not _texts(sentences) or not all(text.strip() for text in sentences):
        raise SaywhyError(f"{path}: {picture}: no sentence (one of {', '.join(SENTENCE_KEYS)}) in {str(item)[:80]}")
    return str(picture).strip(), tuple(text.strip() for text in sentences)


# -- shared -----------------------------------------------------------------------------------------------------------


def _texts(value: Any) -> TypeGuard[list[str]]:
    """Whether it is a list of texts that is not empty."""
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def _items(path: str | Path, document: Any = None) -> list[dict[str, Any]]:
    document = read_json(path) if document is None else document
    if not isinstance(document, list) or not document or not all(isinstance(item, dict) for item in document):
        raise SaywhyError(f"{path}: expected a JSON list of objects")
    return document


def _rows(path: str | Path) -> list[dict[str, str]]:
    rows = [row for _, row in read_table(path)]
    if not rows:
        raise SaywhyError(f"{path}: expected a CSV with a header and at least one row")
    return rows
