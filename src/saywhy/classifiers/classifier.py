"""Any image classifier, behind one interface: pictures in, logits, features, a linear head and class names out."""

from __future__ import annotations

import hashlib
import operator
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import final

import torch
from PIL import Image
from torch import Tensor, nn

from saywhy.classifiers.borrowing import borrowed, frozen
from saywhy.classifiers.checkpoints import Checkpoint
from saywhy.classifiers.heads import (
    Head,
    HeadPlace,
    OtherRows,
    find_head,
    measure_head,
    revive,
    run_with_features,
)
from saywhy.classifiers.outputs import BINARY, MULTI, SINGLE, AsLogits, Key, ends_with_nothing, headless, read_output
from saywhy.classifiers.own_code import GRAMMAR, found_in, split
from saywhy.classifiers.sources import SAYS_ITSELF, SHORT, SOURCES, as_folder, sources_of
from saywhy.classifiers.thresholds import USUAL, Thresholds, read_thresholds
from saywhy.errors import SaywhyError
from saywhy.pictures.channels import AsGiven, ChannelPicture
from saywhy.pictures.geometry import Transform, pixel_range, probe_geometry
from saywhy.pictures.preprocessing import Preprocessing, PreprocessingWarning, described
from saywhy.pictures.transforms import PROBE, Sized, as_transform, keeps_size
from saywhy.plumbing.caches import weights_digest
from saywhy.plumbing.devices import choose_device, device_of, dtype_of
from saywhy.plumbing.files import named_with_digest
from saywhy.plumbing.names import meant, unknown
from saywhy.types import Geometry, Prediction
from saywhy.words.class_names import (
    ClassNames,
    check_count,
    listed,
    read_class_names,
    warn_of_duplicates,
    without_names,
)

CODE = "python"
"""Prefix of a source that is code of the user's own."""
SIDES = (32, 28, 64, 96, 128, 160, 192, 224)  # that networks of one size take, tried where a transform has no Resize


@final
@dataclass(frozen=True, eq=False, repr=False)
class Classifier:
    """A network with everything needed to use it. Make one with ``load`` or ``from_module``.

    network:   (N, 3, h, w), or any number of channels, -> (N, C) logits. Used in evaluation mode and given back as it
               was found.
    transform: RGB picture -> (3, h, w).
    labels:    C class names.
    name:      what reports call it.
    task:      how logits become probabilities: "single-label", a softmax; "multi-label", a sigmoid each; "binary", two
               classes whose logits are one number and its negative, a sigmoid each.
    thresholds: of a multi-label classifier: the C probabilities from which its labels are said; else ().
    origin:    what it was loaded from, beside ``name``, for the record: "checkpoint", "code", "weights".
    """

    network: nn.Module
    transform: Transform
    labels: tuple[str, ...]
    name: str
    _head: HeadPlace | None = field(repr=False)  # where it is; None where there is none
    _no_head: str = field(repr=False)  # why there is none
    task: str = SINGLE
    thresholds: tuple[float, ...] = field(default=(), repr=False)
    origin: Mapping[str, str] = field(default_factory=dict, repr=False)

    @staticmethod
    def load(
        source: str,
        *,
        pretrained: bool = True,
        labels: ClassNames | None = None,
        device: str | torch.device | None = None,
        output: Key | None = None,
        task: str | None = None,
        threshold: Thresholds | None = None,
        checkpoint: str | Path | None = None,
        classes: int | None = None,
        averaged: bool = False,
        img_size: int | None = None,
        crop_pct: float | None = None,
        crop_mode: str | None = None,
        interpolation: str | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> Classifier:
        """The classifier that ``source`` names.

        >>> Classifier.load("timm:resnet50", pretrained=False)  # random weights, no download

        source:     "timm:NAME", "timm:DIR", "torchvision:NAME", "hf:NAME_OR_DIR", "imagenet" or "world:NAME"; or
                    "python:FILE.py:NAME", a file of your own, which is run: NAME in it is a Classifier, or a function
                    of no arguments that returns one. What is said of such a classifier is said there.
        pretrained: False gives random weights, always the same ones.
        labels:     names in class order, {name: index} or {index: name}, or a .txt, .json or .csv file of them; None:
                    those of the source.
        device:     None: a GPU where there is one.
        output:     which of several tensors that the network returns holds the logits, by key, attribute or index.
        task:       "single-label", "multi-label" or "binary"; None: what the network says of itself, else
                    "single-label", and "binary" for one logit.
        threshold:  of a multi-label classifier: the probability from which a label is said, one for all or one each, by
                    order, by name ({name: threshold}, others at 0.5) or as a JSON file; None: 0.5.
        checkpoint: your own weights for a timm or torchvision architecture, instead of the library's; see
                    ``load_checkpoint``. averaged: those averaged in training (EMA), where the file has both.
        classes:    how many the architecture is built with; None: as many as the library's weights have.
        img_size, crop_pct, crop_mode, interpolation, mean, std: the preprocessing of evaluation, by the names of timm's
                    train.py; see ``Preprocessing``. None: what the checkpoint says, else as the source has it.

        Raises SaywhyError for a name or a device that does not exist, weights that do not load, the wrong number of
        class names, an output that is no logits, a task that does not fit, and preprocessing that cannot be. Warns with
        a ClassNameWarning of names that several classes have, and with a PreprocessingWarning where weights are taken
        of which nobody says how pictures are prepared for them.
        """
        asked = Preprocessing(
            img_size=img_size, crop_pct=crop_pct, crop_mode=crop_mode, interpolation=interpolation, mean=mean, std=std
        )
        source = SHORT.get(source, source)
        origin, _, name = source.partition(":")
        if origin in SAYS_ITSELF and asked.said:
            raise SaywhyError(
                f"{source}: its preprocessing cannot be said by --{next(iter(asked.said)).replace('_', '-')}; "
                f"{SAYS_ITSELF[origin]}"
            )
        if origin == CODE:
            elsewhere = {
                "--labels": labels, "--output": output, "--task": task, "--checkpoint": checkpoint,
                "--num-classes": classes, "--ema": averaged or None, "--random-weights": None if pretrained else True,
            }  # fmt: skip
            if meant := next((option for option, value in elsewhere.items() if value is not None), None):
                raise SaywhyError(f"{source}: {meant} is said in the file, where the classifier is made")
            classifier = _of_code(source, name, device)
            return classifier if threshold is None else classifier.with_thresholds(threshold)
        if origin not in SOURCES or not name:
            known = ", ".join([*(s if s in SHORT else f"{s}:NAME" for s in SOURCES), GRAMMAR])
            raise SaywhyError(f"{source!r} does not name a classifier; use one of {known}{_as_path(source)}")
        if os.path.isdir(name):
            name = os.path.normpath(name)  # "./birds/" and "birds" are one classifier
            source = f"{origin}:{name}"
        if classes is not None and checkpoint is None and pretrained:
            raise SaywhyError(f"{source} with {classes} classes has a head that nobody trained; give its checkpoint")
        chosen = choose_device(device)
        file = None if checkpoint is None else Checkpoint.open(checkpoint)
        said = asked if file is None else asked.or_else(file.preprocessing)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network, transform, own_names = SOURCES[origin](name, pretrained and file is None, classes, said)
        about: dict[str, str] = {} if pretrained or file is not None else {"weights": "random"}
        if file is not None:
            file.put_into(network, averaged=averaged)
            pretrained = True
            about["checkpoint"] = file.named + (" (averaged weights)" if averaged else "")
            if origin not in SAYS_ITSELF and not os.path.isdir(name) and not file.says_all and said.unsaid:
                about["assumed"] = f"{', '.join(said.unsaid)}: as {origin} has it for {name}"
        names = own_names if labels is None else labels
        classifier = _assemble(
            network.eval().to(chosen), transform, names, source, output, task, revive_head=not pretrained
        )
        classifier = replace(classifier, origin=about)
        if file is not None and "assumed" in about:
            warnings.warn(_assumed(classifier, file, said, f"{origin} has it for {name}"), PreprocessingWarning, 2)
        return classifier if threshold is None else classifier.with_thresholds(threshold)

    @staticmethod
    def from_module(
        module: nn.Module,
        *,
        transform: Transform | None = None,
        shape: tuple[int, int, int] | None = None,
        labels: ClassNames | None = None,
        name: str | None = None,
        output: Key | None = None,
        task: str | None = None,
        threshold: Thresholds | None = None,
    ) -> Classifier:
        """Your own network. It stays where it is, on its device, in its mode.

        It may return logits, or what a softmax or a sigmoid makes of them, alone or among other tensors; one logit
        makes a classifier of two classes (docs/your-model.md).

        transform:            RGB picture -> (3, h, w), the one of evaluation. Where it leaves pictures at their size,
                              and the network takes one size only (32 x 32, say), others are stretched to it first.
        shape:                instead of it, of a network that is given tensors (C, h, w) as they are, of any number of
                              channels; see ``pictures.channels``.
        labels, output, task: as in ``load``. Of one logit: the name of what it speaks for, or two names in class order,
                              of which it speaks for the second.
        threshold:            as in ``load``.

        Raises SaywhyError, and warns, as ``load`` does.
        """
        if transform is None and shape is not None:
            transform = AsGiven(shape)
        elif transform is None or shape is not None:
            raise SaywhyError("give either transform=, of RGB pictures, or shape=(C, H, W), of tensors as they are")
        called = name or type(module).__name__
        classifier = _assemble(module, transform, labels, called, output, task, revive_head=False)
        return classifier if threshold is None else classifier.with_thresholds(threshold)

    def __repr__(self) -> str:
        head = f"head of {self._head.width} features" if self._head else "no linear head"
        network = type(self.network.network if isinstance(self.network, AsLogits) else self.network).__name__
        task = "" if self.task == SINGLE else f", {self.task}"
        return f"<Classifier {self.name}: {network}, {len(self.labels)} classes{task}, {head}, on {self.device}>"

    @property
    def device(self) -> torch.device:
        return device_of(self.network)

    @property
    def dtype(self) -> torch.dtype:
        return dtype_of(self.network)

    @property
    def fingerprint(self) -> str:
        """Changes with the weights, the class names and the transform as it shows itself: whose a saved mapper is.

        The same in every process. What a transform does is ``transform_digest``: many do not show their code.
        """
        transform = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(self.transform))  # where it lies in memory
        words = "|".join(self.labels) + transform + ("" if self.task == SINGLE else self.task)
        return f"{weights_digest(self.network.state_dict().values())}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"

    @property
    def record(self) -> dict[str, str]:
        """What an answer keeps of it, to repeat it: how pictures are prepared, and where its weights come from."""
        return {"transform": described(self.transform), **self.origin}

    @property
    def has_head(self) -> bool:
        """Whether the logits are a linear function of feature vectors, so that ``features`` and ``head`` exist."""
        return self._head is not None

    @property
    def head_place(self) -> HeadPlace:
        """Where the features go into the head; see ``run_with_features``. Raises SaywhyError without a linear head."""
        if self._head is None:
            raise SaywhyError(f"{self.name} has no linear head: {self._no_head}. Its own space cannot be used")
        return self._head

    @property
    def head(self) -> Head:
        """The linear head as it is now, float32, on the CPU, measured in a run. Raises SaywhyError without one."""
        return measure_head(self.network, self.head_place)

    def with_thresholds(self, threshold: Thresholds) -> Classifier:
        """The same, saying labels from other probabilities; see ``load``. Raises SaywhyError for another task."""
        if self.task != MULTI:
            raise SaywhyError(f"{self.name} is {self.task}; a threshold is for task={MULTI!r}")
        return replace(self, thresholds=read_thresholds(threshold, self.labels))

    def with_rows(self, rows: Tensor, names: Sequence[str]) -> Classifier:
        """The same network, asked for other things than its classes: its logits are ``features @ rows.T``.

        Whatever explains a class explains a row. rows: (K, d). names: K texts, what each row speaks for.

        Raises SaywhyError where there is no linear head.
        """
        network = OtherRows(self.network, self.head_place, rows.to(self.device, self.dtype))
        return Classifier(network, self.transform, tuple(names), self.name, None, "its rows were given", MULTI)

    def preprocess(self, images: Sequence[Image.Image]) -> Tensor:
        """(N, C, h, w) on the CPU; of a ``ChannelPicture`` its channels, as they are.

        Raises SaywhyError where the transform gives them several shapes, and for other channels than the network takes.
        """
        tensors = [self._prepared(image) for image in images]
        shapes = {tuple(tensor.shape) for tensor in tensors}
        if len(shapes) > 1:
            listed = " and ".join(map(str, sorted(shapes)))
            raise SaywhyError(
                f"the transform of {self.name} gives pictures of several shapes, {listed}; give it a Resize and a "
                "CenterCrop"
            )
        return torch.stack(tensors)

    def _prepared(self, image: Image.Image) -> Tensor:
        if isinstance(image, ChannelPicture) and not isinstance(self.transform, AsGiven):
            channels, given = self.transform(Image.new("RGB", PROBE)).shape[0], image.tensor
            if len(given) != channels:
                raise SaywhyError(f"{self.name} takes {channels} channels, and a picture of {len(given)} was given")
            return given
        return torch.as_tensor(self.transform(image))

    def geometry(self, size: tuple[int, int]) -> Geometry:
        """Where the preprocessed frame lies on an original of that (width, height)."""
        return _geometry(self.transform, size)

    def frame_on(self, image: Image.Image) -> Geometry:
        """Where the preprocessed frame lies on a picture; channels that are given as they are lie on it as a whole."""
        if isinstance(image, ChannelPicture):
            return Geometry(image.size, image.size, (1.0, 1.0), (0.0, 0.0))
        return self.geometry(image.size)

    @property
    def takes_tensors(self) -> bool:
        """Whether pictures are given to the network as they are, as tensors or arrays of its channels."""
        return isinstance(self.transform, AsGiven)

    @property
    def keeps_size(self) -> bool:
        """Whether pictures go into the network at their own size, so that a crop has to be stretched to it."""
        return _keeps_size(self.transform)

    @property
    def pixel_range(self) -> tuple[Tensor, Tensor]:
        """(C,), (C,): black and white as the network gets them. Raises SaywhyError for one that takes tensors."""
        if self.takes_tensors:
            raise SaywhyError(f"{self.name} takes tensors, of which nobody knows what is black; use a rule without z^B")
        return pixel_range(self.transform)

    @torch.no_grad()
    def logits(self, pixels: Tensor) -> Tensor:
        """(N, C), on the network's device. pixels: (N, 3, h, w), preprocessed."""
        with borrowed(self.network) as shadow:
            return shadow(pixels.to(self.device, self.dtype, copy=True))  # the network may work in place

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        """(N, d): what goes into the head. Raises SaywhyError where there is none."""
        with borrowed(self.network) as shadow:
            return run_with_features(shadow, pixels.to(self.device, self.dtype, copy=True), self.head_place)[0]

    def predict(
        self, images: Sequence[Image.Image], top: int = 5, batch_size: int = 16
    ) -> list[tuple[Prediction, ...]]:
        """The ``top`` classes of each picture, best first."""
        logits = [
            self.logits(self.preprocess(images[start : start + batch_size])).float().cpu()
            for start in range(0, len(images), batch_size)
        ]
        return self.predictions(torch.cat(logits), top) if logits else []

    def predictions(self, logits: Tensor, top: int = 5) -> list[tuple[Prediction, ...]]:
        """The ``top`` classes of each row of (N, C) logits, best first. Raises SaywhyError for NaN or infinity."""
        best = logits.nan_to_num().topk(min(top, logits.shape[1])).indices.tolist()
        return [tuple(self.prediction(row, c) for c in classes) for row, classes in zip(logits, best, strict=True)]

    def prediction(self, logits: Tensor, index: int) -> Prediction:
        """What (C,) logits say of one class. Raises SaywhyError for NaN or infinity."""
        if not torch.isfinite(logits).all():
            raise SaywhyError(f"{self.name} gives logits that are not finite; its weights or input are damaged")
        return Prediction(index, self.labels[index], float(self.probabilities(logits)[index]), float(logits[index]))

    def probabilities(self, logits: Tensor) -> Tensor:
        """(..., C) float32, of (..., C) logits: as the classifier's task has it, and as its network would say."""
        return logits.float().softmax(-1) if self.task == SINGLE else logits.float().sigmoid()

    def said(self, logits: Tensor) -> list[int]:
        """The classes that it says of (C,) logits, most probable first.

        One; of a multi-label classifier every label from its threshold, which may be none.
        """
        if self.task != MULTI:
            return [int(logits.argmax())]
        found = self.probabilities(logits).cpu()
        thresholds = torch.tensor(self.thresholds or [USUAL] * len(found))
        return [n for n in found.argsort(descending=True).tolist() if found[n] >= thresholds[n]]

    def class_index(self, target: int | str) -> int:
        """The index of a class given by index or name; "7" is the class of that name where there is one, else class 7.

        target: an integer of any library, or text. Raises SaywhyError, with the nearest names, for a class that does
        not exist, and for a name that several classes have.
        """
        if not isinstance(target, str):
            try:
                return self._known_index(operator.index(target))
            except TypeError:
                raise SaywhyError(f"a class is given by its index or its name, not by {target!r}") from None
        for read in (str, str.casefold):
            having = [c for c, label in enumerate(self.labels) if read(label) == read(target)]
            if len(having) > 1:
                raise SaywhyError(f"{target!r} is the name of classes {listed(having)} of {self.name}; give the index")
            if having:
                return having[0]
        if re.fullmatch("-?[0-9]+", target):
            return self._known_index(int(target))
        near = [label for label in self.labels if target.lower() in label.lower()]
        lead = f"{self.name} has no"
        raise unknown("class", target, self.labels, lead=lead, see="its labels", near=near, cutoff=0.5)

    def names_class(self, text: str) -> bool:
        """Whether a text is taken for a class: it is the name of one or more, or a number."""
        known = {label.casefold() for label in self.labels}
        return text.casefold() in known or re.fullmatch("-?[0-9]+", text) is not None

    def _known_index(self, index: int) -> int:
        if not 0 <= index < len(self.labels):
            raise SaywhyError(f"there is no class {index}: {self.name} knows 0 to {len(self.labels) - 1}")
        return index


@lru_cache(maxsize=64)
def _keeps_size(transform: Transform) -> bool:
    return keeps_size(transform)


@lru_cache(maxsize=256)
def _geometry(transform: Transform, size: tuple[int, int]) -> Geometry:
    return probe_geometry(transform, size)


# -- what it is loaded from -------------------------------------------------------------------------------------------


def _of_code(source: str, text: str, device: str | torch.device | None) -> Classifier:
    """The classifier of a file of the user's own. device: None: where the file puts it."""
    chosen = None if device is None else choose_device(device)
    found = found_in(text)
    path, name = split(text)
    if isinstance(found, nn.Module):
        raise SaywhyError(
            f"{source}: {name} is a network, {type(found).__name__}, which does not know its transform; make it "
            f"{name} = saywhy.Classifier.from_module(network, transform=..., labels=...)"
        )
    if not isinstance(found, Classifier):
        raise SaywhyError(
            f"{source}: {name} is a {type(found).__name__}; it must be a saywhy.Classifier, or a function of no "
            "arguments that returns one"
        )
    if chosen is not None:
        found.network.to(chosen)
    unnamed = found.name == _network_name(found)
    return replace(
        found,
        name=source if unnamed else found.name,
        origin={**found.origin, "code": f"{named_with_digest(path)}: {name}"},
    )


def _network_name(classifier: Classifier) -> str:
    """What ``from_module`` calls a classifier that nobody gave a name."""
    network = classifier.network
    return type(network.network if isinstance(network, AsLogits) else network).__name__


def _assumed(classifier: Classifier, file: Checkpoint, said: Preprocessing, whose: str) -> str:
    """What a PreprocessingWarning says."""
    known = described(classifier.transform)
    if not said.said:
        return (
            f"{file.path.name} does not say how pictures are prepared for it; assumed, as {whose}: {known}; where "
            f"yours is another, say {', '.join(said.unsaid)}"
        )
    return f"pictures are prepared so: {known}; assumed of it, as {whose}: {', '.join(said.unsaid)}"


# -- putting one together ---------------------------------------------------------------------------------------------


def _assemble(
    network: nn.Module,
    transform: Transform,
    labels: ClassNames | None,
    name: str,
    output: Key | None,
    task: str | None,
    *,
    revive_head: bool,
) -> Classifier:
    """Run the network on noise: see what it returns and how that is read, find its head, fit the names."""
    if isinstance(transform, AsGiven):
        noise = _noise(network, transform.shape)
    else:
        transform = as_transform(transform)
        noise = _noise(network, transform(Image.new("RGB", PROBE)).shape)
        if keeps_size(transform) and not _runs(network, noise):
            sides = (side for side in SIDES if _runs(network, noise[..., :side, :side]))
            if (side := next(sides, None)) is not None:
                transform, noise = Sized(transform, side), noise[..., :side, :side]
    names = None if labels is None else read_class_names(labels)
    try:
        reading = read_output(network, noise, name, None if names is None else len(names), output, task)
    except (SaywhyError, MemoryError):
        raise
    except Exception as error:  # each library has its own: a picture of another size is an AssertionError in timm
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SaywhyError(f"{name} cannot run on what its transform returns, {tuple(noise.shape)}: {said}") from None
    plain = network
    if reading.key is not None or reading.end is not None or reading.task == BINARY or reading.squeezed:
        network = AsLogits(plain, reading.key, reading.end, reading.last)
    if revive_head:
        revive(network, reading.classes)
    place, reason = find_head(network, noise.shape[1:])
    if place is None and (names is None or len(names) != reading.classes):
        if ends_with_nothing(plain, noise):
            raise headless(name, torch.empty(2, reading.classes))
        if not reading.alone and reading.key != "logits":
            raise SaywhyError(
                f"{name} returns (N, {reading.classes}) as {reading.key!r}, which no linear layer makes. If these are "
                f"logits, say output={reading.key!r}, or give the class names"
            )
    where = str(labels) if isinstance(labels, str | Path) else name
    if reading.task == BINARY:
        names, sign = _two_names(names, where)
        network = AsLogits(plain, reading.key, reading.end, reading.last, sign)
    elif names is None:
        names = without_names(reading.classes)
    else:
        check_count(names, reading.classes, where)
    warn_of_duplicates(names, where)
    return Classifier(network, transform, names, name, place, reason, reading.task)


def _noise(network: nn.Module, shape: Sequence[int]) -> Tensor:
    """(2, C, h, w): what is shown to a network to see what it does."""
    noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    return noise.to(device_of(network), dtype_of(network))


def _runs(network: nn.Module, noise: Tensor) -> bool:
    try:
        with torch.no_grad(), frozen(network):
            network(noise)
    except Exception:  # each library has its own
        return False
    return True


def _two_names(names: tuple[str, ...] | None, where: str) -> tuple[tuple[str, str], int]:
    """The two classes of one logit, and its sign as the first one's."""
    if names is None:
        return ("positive", "negative"), 1
    if len(names) == 1:
        return (names[0], f"not {names[0]}"), 1
    if len(names) != 2:
        raise SaywhyError(
            f"{where}: {len(names)} class names for a classifier of one logit; give one, of what it speaks for, or two"
        )
    return (names[0], names[1]), -1  # as binary cross-entropy is trained: towards class 1


def _as_path(source: str) -> str:
    """What to write for a path that was given without saying what it is, or that is misspelled; "" for neither."""
    file, _, name = source.rpartition(":")
    if source.endswith(".py") or file.endswith(".py"):
        return f"; to run this file of your own: --model python:{file or source}:{name if file else 'NAME'}"
    if os.path.isdir(source):
        return as_folder(Path(source))
    if os.path.isfile(source):
        return (
            f"; weights in a file are of an architecture: --model timm:NAME --checkpoint {source} --num-classes N, or, "
            f"of a network of your own, --model {GRAMMAR} (docs/your-model.md)"
        )
    if known := sources_of(source):
        return f"; did you mean {' or '.join(known)}?"
    return meant(source)


__all__ = ["SOURCES", "Classifier", "Head"]
