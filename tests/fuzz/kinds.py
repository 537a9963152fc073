"""Every kind of text that the program reads, each in the place where it is read, and the function that reads it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from saywhy.answers.captions import Answers
from saywhy.answers.explanation import Explanation
from saywhy.answers.why import Why
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.cub import read_cub
from saywhy.pictures.rationale_data import read_rationale_data
from saywhy.pictures.sources import read_sources
from saywhy.questions.concepts import read_bank
from saywhy.questions.names_and_defaults import load_vocabulary
from saywhy.questions.sentences.language_model import load_language_model
from saywhy.spaces.clip import load_clip
from saywhy.spaces.surgery.correlation import correlate
from saywhy.spaces.surgery.matching import Matching, match
from saywhy.spaces.surgery.operating import run_operated
from saywhy.spaces.text_encoder import load_encoder
from saywhy.spaces.text_to_weights import MAPPERS, fit
from saywhy.spaces.text_to_weights.files import load_mapper, save_mapper
from saywhy.spaces.tuned import load_tuned
from saywhy.training.language import byte_pair_tokenizer, read_sentences, write_language
from saywhy.training.prompts.settings import read_recipe
from saywhy.words.caption_files import read_explanations, read_magic, read_references, read_results
from saywhy.words.class_names import read_class_names
from saywhy.words.rationale_lists import read_rationales
from tests.answers.test_captions import answers
from tests.classifiers.test_classifier import NAMES, hf_directory, timm_directory
from tests.fuzz.texts import Kind, corpus
from tests.helpers import explanation, picture, unit
from tests.networks import batches, pixels, two_convolutions
from tests.questions.test_why import USUAL, asked
from tests.spaces.test_tuned import clip_directory, tuned
from tests.spaces.text_to_weights.test_init import QUICK
from tests.writers import TEXTS, tiny_gpt2

CUB_FOLDERS = {
    "parts": "parts", "part_locs": "parts", "image_attribute_labels": "attributes",
    "class_attribute_labels_continuous": "attributes", "attributes": "attributes",
}  # fmt: skip


def texts(folder: Path) -> Iterator[Kind]:
    """Those that are read in a moment."""
    yield from _plain(folder)
    yield from _in_folders(folder)
    yield from _answers(folder)
    yield from _stories(folder)


def models(folder: Path) -> Iterator[Kind]:
    """The settings of models' folders, which libraries read: each kind in a folder of its own."""
    image = picture(48, 32)

    def classify(source: str) -> Callable[[Path], object]:
        return lambda path: Classifier.load(f"{source}:{path.parent}", device="cpu").predict([image])

    def see(path: Path) -> object:
        return _loaded(load_clip, path.parent, "cpu").encode_images([image])

    def write(path: Path) -> object:
        return _loaded(load_language_model, path.parent, "cpu").perplexities(["a red bird"])

    def read(path: Path) -> object:
        return _loaded(load_encoder, path.parent).encode_once(["a red bird"])

    for name, make, file, use in (
        ("timm", lambda path: timm_directory(path, NAMES), "config.json", classify("timm")),
        ("hf", hf_directory, "config.json", classify("hf")),
        ("processor", hf_directory, "preprocessor_config.json", classify("hf")),
        ("clip", clip_directory, "open_clip_config.json", see),
        ("language", _language_directory, "config.json", write),
        ("tokenizer", _language_directory, "tokenizer_config.json", write),
        ("encoder", _encoder_directory, "config.json", read),
        ("modules", _encoder_directory, "modules.json", read),
    ):
        path: Path = make(folder / f"model-{name}") / file
        yield Kind(name, path, (path.read_bytes(), *corpus(name, ".json")), use)


def _loaded(load: Any, folder: Path, *device: str) -> Any:
    load.cache_clear()
    return load(str(folder), *device)


def _plain(folder: Path) -> Iterator[Kind]:
    captions = _each(read_references, read_results, read_magic, read_explanations)
    readers: dict[str, dict[str, Any]] = {
        "labels": dict.fromkeys((".txt", ".json", ".csv"), read_class_names),
        "vocabulary": dict.fromkeys((".txt", ".json"), _each(read_bank, load_vocabulary)),
        "rationales": dict.fromkeys((".json", ".csv"), read_rationales),
        "captions": {".json": captions, ".csv": read_explanations},
        "sentences": dict.fromkeys((".txt", ".json"), read_sentences),
        "recipe": {".toml": read_recipe},
    }
    for name, by_ending in readers.items():
        for ending, read in by_ending.items():
            yield Kind(name, folder / f"{name}{ending}", corpus(name, ending), read)


def _each(*readers: Callable[[Path], object]) -> Callable[[Path], object]:
    """All of them are asked; the last one's answer counts."""

    def read(path: Path) -> object:
        for reader in readers[:-1]:
            with contextlib.suppress(SaywhyError):
                reader(path)
        return readers[-1](path)

    return read


def _in_folders(folder: Path) -> Iterator[Kind]:
    shown = folder / "pictures"
    shown.mkdir()
    for name in ("a.jpg", "b.jpg"):
        picture(40, 30).save(shown / name)

    yield Kind(
        "pictures", shown / "labels.csv", corpus("pictures", ".csv"), lambda path: read_sources([str(path.parent)])
    )
    yield Kind(
        "rationale_table",
        shown / "table.csv",
        corpus("rationale_table", ".csv"),
        lambda path: read_rationale_data(path, "train"),
    )
    golden = folder / "golden"
    for name in ("train/kite/red wings/0/a.jpg", "train/owl/round eyes/0/b.jpg"):
        (golden / name).parent.mkdir(parents=True)
        picture(40, 30).save(golden / name)
    (golden / "rationales.json").write_text('{"kite": ["red wings", "a long tail"], "owl": ["round eyes"]}')
    yield Kind(
        "gold", golden / "gold.csv", corpus("gold", ".csv"), lambda path: read_rationale_data(path.parent, gold="all")
    )
    for path in sorted((Path(__file__).parent / "corpus").glob("cub_*.txt")):
        name = path.stem.removeprefix("cub_")
        if "-" not in name:
            yield _cub(folder / f"cub-{name}", name)


def _cub(root: Path, damaged: str) -> Kind:
    for text in (Path(__file__).parent / "corpus").glob("cub_*.txt"):
        name = text.stem.removeprefix("cub_")
        if "-" not in name:
            place = root / CUB_FOLDERS.get(name, "") / f"{name}.txt"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(text, place)
    for name in ("001.Owl/a.jpg", "002.Kite/b.jpg"):
        (root / "images" / name).parent.mkdir(parents=True)
        picture(40, 30).save(root / "images" / name)
    place = root / CUB_FOLDERS.get(damaged, "") / f"{damaged}.txt"
    return Kind(f"cub_{damaged}", place, corpus(f"cub_{damaged}", ".txt"), lambda _: read_cub(root, "train"))


def _answers(folder: Path) -> Iterator[Kind]:
    """Documents that were saved: what is read of them can also be shown."""
    for record, name in ((explanation(), "explanation"), (asked(usual=USUAL), "why"), (answers(), "answers")):
        kind: Any = type(record)

        def read(path: Path, kind: Any = kind) -> None:
            again: Explanation | Why | Answers = kind.from_json(path.read_bytes().decode(errors="replace"))
            again.to_json()
            assert repr(again).isprintable()
            again.save(folder / "again.html")
            if hash(path.read_bytes()) % 20 == 0:
                again.save(folder / "again.png")

        yield Kind(name, folder / f"{name}.json", (record.to_json().encode(), *corpus(name, ".json")), read)


def _stories(folder: Path) -> Iterator[Kind]:
    """What a file of tensors says of itself, with tensors that fit what was said; and these files byte by byte."""
    for method in MAPPERS:
        path = folder / f"{method}.safetensors"
        save_mapper(
            fit(unit(9, 8), torch.randn(9, 12), method=method, **QUICK.get(method, {})),
            path,
            classifier="c",
            encoder="e",
        )

        def use(path: Path) -> object:
            return load_mapper(path, classifier="c", encoder="e", example=unit(3, 8))

        yield from _stored(folder, f"mapper_{method}", path, "mapper", use)
    yield from _stored(folder, "matching", _matching().save(folder / "m.safetensors"), "saywhy", _use_matching)
    yield from _stored(folder, "adapter", _adapter(folder / "adapter"), "saywhy", lambda path: load_tuned(path.parent))


def _stored(folder: Path, name: str, path: Path, key: str, read: Callable[[Path], object]) -> Iterator[Kind]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata())
    tensors, whole, place = load_file(path), path.read_bytes(), path
    story = folder / f"{name}.story.json"

    def retold(told: Path) -> object:
        save_file(tensors, place, metadata | {key: told.read_bytes().decode(errors="replace")})
        return read(place)

    yield Kind(f"{name}_story", story, (metadata[key].encode(), *corpus(f"{name}_story", ".json")), retold)
    yield Kind(f"{name}_file", place, (whole,), read)


def _matching() -> Matching:
    torch.manual_seed(0)
    source, target = two_convolutions(), two_convolutions()
    found = match([correlate(source, target, batches(12, 4), [(("0", "2"), "2")])[0]], chance=0.5, signed=True)
    return replace(found, source="ours", target="theirs", fingerprints={"source": "s1", "target": "t1"})


def _use_matching(path: Path) -> object:
    source, target, x = two_convolutions(), two_convolutions(), pixels(2)
    found = Matching.load(path, {"source": "s1"})
    return found.quality(), run_operated(source, target, found, x, x)


def _adapter(folder: Path) -> Path:
    clip = load_clip(str(clip_directory(folder / "clip")))
    return tuned(clip).save(folder / "adapter")


def _language_directory(folder: Path) -> Path:
    tokenizer = byte_pair_tokenizer(TEXTS * 20, 290)
    write_language(folder, tiny_gpt2(tokenizer), tokenizer)
    return folder


def _encoder_directory(folder: Path) -> Path:
    """A sentence-transformers directory of a small network."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=290, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertModel(config).save_pretrained(folder / "bert")
    byte_pair_tokenizer(TEXTS * 20, 290).save_pretrained(folder / "bert")
    words = Transformer(str(folder / "bert"))
    SentenceTransformer(modules=[words, Pooling(16)], device="cpu").save(str(folder / "encoder"))
    return folder / "encoder"
