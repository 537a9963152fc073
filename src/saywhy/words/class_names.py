"""The names of a classifier's classes: from a file, from the user, or from the library that brought the weights."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral, Real
from pathlib import Path

from saywhy.errors import SaywhyError
from saywhy.plumbing.names import shown
from saywhy.plumbing.texts import read_json, read_lines, read_rows

ClassNames = str | Path | Sequence[str] | Mapping[str, int] | Mapping[int, str] | Mapping[str, str]
"""What class names can be given as; see ``read_class_names``."""


class ClassNameWarning(UserWarning):
    """Class names that do not tell classes apart, or that are read in an order worth checking."""


def read_class_names(source: ClassNames) -> tuple[str, ...]:
    """Names in class order, from a sequence, a mapping or a file.

    A mapping is from name to index ({"cat": 1, "dog": 0}, a data set's class_to_idx) or from index to name. .txt: one
    name a line. .json: a list, or an object that is such a mapping. .csv: a name a row, or index and name in either
    order; a header row is recognised by its words (index, class, name, label).

    Raises SaywhyError where the file is none of these, for indices that are not 0 to C - 1, each once, and for names
    that are neither texts nor numbers.
    """
    if isinstance(source, Mapping):
        return tuple(_in_order(source.items(), "labels"))
    if isinstance(source, Set):
        raise SaywhyError("labels: a set has no order; give a list of names in class order, or {name: index}")
    if not isinstance(source, str | Path):
        return tuple(str(name) for name in source)
    path = Path(source)
    names = {".json": _from_json, ".csv": _from_csv}.get(path.suffix.lower(), _from_lines)(path)
    if not names:
        raise SaywhyError(f"{path}: contains no class names")
    return tuple(names)


def check_count(names: Sequence[str], classes: int, where: str) -> None:
    """Raises SaywhyError unless there is exactly one name per class."""
    if len(names) != classes:
        raise SaywhyError(
            f"{where}: {len(names)} class names for a classifier of {classes} classes; give one per class"
        )


def warn_of_duplicates(names: Sequence[str], where: str) -> None:
    """A ClassNameWarning that says which names several classes have, and which classes."""
    classes = {name: [c for c, n in enumerate(names) if n == name] for name, n in Counter(names).items() if n > 1}
    if classes:
        said = [f"{name!r} is the name of classes {listed(some)}" for name, some in list(classes.items())[:3]]
        more = f", and {len(classes) - 3} more names are of several classes" if len(classes) > 3 else ""
        message = f"{where}: {', '.join(said)}{more}; name such a class by its index"
        warnings.warn(message, ClassNameWarning, stacklevel=4)


def listed(classes: Sequence[int], most: int = 6) -> str:
    """Some class indices in words: "3 and 7", "0, 1, 2 and 5 more"."""
    if len(classes) > most:
        return f"{', '.join(map(str, classes[: most - 1]))} and {len(classes) - most + 1} more"
    return " and ".join(filter(None, (", ".join(map(str, classes[:-1])), str(classes[-1]))))


def without_names(classes: int) -> tuple[str, ...]:
    """What classes are called whose names nobody knows: "class 0", "class 1"."""
    return tuple(f"class {c}" for c in range(classes))


def common_name(label: str) -> str:
    """The English name of "Latin name (English name)": sentence encoders know little Latin. Others as they are."""
    match = re.fullmatch(r"[A-Z][a-z]+(?: [a-z-]+)+ \(([^()]+)\)", label)
    return match[1] if match else label


def are_words(names: Sequence[str]) -> bool:
    """Whether class names tell classes apart by words: not "7", "n01440764" or "class 12".

    At least half of them have three letters in a row, or a letter that is not Latin's, in a word that at most half of
    all names share; a name that several classes have counts.
    """
    words = [
        {word for word in re.findall(r"[^\W\d_]+", common_name(name).lower()) if len(word) > 2 or not word.isascii()}
        for name in names
    ]
    shared = Counter(word for own in words for word in own)
    telling = sum(any(shared[word] <= max(1, len(names) / 2) for word in own) for own in words)
    return telling >= len(names) / 2


def plain(name: str) -> str:
    """A class name without what folders add to it: "001.Black_footed_Albatross" becomes "black footed albatross"."""
    return re.sub(r"[\W_]+", " ", re.sub(r"^\d+\.", "", name).lower()).strip()


def folder_names(classes: Sequence[str], folders: Iterable[str] = ()) -> dict[str, int]:
    """Every name that a class's folder may have, made ``plain`` -> the class's index.

    A class's name takes precedence over a common name, and that over a number: "8" is the class "8" where there is one.
    A number is the class's index. Where the classes have no names, the folders' names were those of the training
    folders, and torchvision's ImageFolder counts these as it sorts them: of 0, 1, ..., 11 the folder 10 is class 2.

    folders: the names of those that are there, which tell 00 to 11 and 1 to 12 from 0 to 11.

    Warns with a ClassNameWarning where numbered folders are counted in another order than that of their numbers.
    """
    known = {str(n): n for n in range(len(classes))}
    if tuple(classes) == without_names(len(classes)):
        known |= _as_image_folder(len(classes), [folder for folder in folders if re.fullmatch("[0-9]+", folder)])
    known |= {plain(common_name(name)): index for index, name in enumerate(classes)}
    return known | {plain(name): index for index, name in enumerate(classes)}


def _as_image_folder(classes: int, numbered: Sequence[str]) -> dict[str, int]:
    """Folder of a number -> its place among all of them, sorted as texts."""
    first = 1 if str(classes) in numbered and not any(int(folder) == 0 for folder in numbered) else 0
    width = max(map(len, numbered)) if any(folder[0] == "0" and len(folder) > 1 for folder in numbered) else 1
    names = sorted(f"{n:0{width}d}" for n in range(first, first + classes))
    known = {name: index for index, name in enumerate(names)}
    moved = [name for name in sorted(numbered) if known.get(name) not in (None, int(name) - first)]
    if moved:
        warnings.warn(
            f"numbered folders are counted as torchvision's ImageFolder sorts them ({', '.join(names[:4])}, ...): "
            f"folder {moved[0]} is class {known[moved[0]]}; give class names if the network was trained otherwise",
            ClassNameWarning,
            stacklevel=4,
        )
    return known


def _from_lines(path: Path) -> list[str]:
    return [line.strip() for line in read_lines(path) if line.strip()]


def _from_json(path: Path) -> list[str]:
    data = read_json(path)
    if isinstance(data, dict):
        return _in_order(data.items(), path)
    if isinstance(data, list):
        return [_one_name(value, path) for value in data]
    raise SaywhyError(f"{path}: expected a list of names, or an object from index to name or from name to index")


def _one_name(value: object, where: str | Path) -> str:
    """A name; of the [wnid, name] pairs of ImageNet's class index, the name."""
    name = value[-1] if isinstance(value, list) and value else value
    if isinstance(name, bool) or not isinstance(name, str | Real):
        raise SaywhyError(f"{where}: {shown(repr(value), 80)} is no class name; expected texts")
    return str(name)


def _from_csv(path: Path) -> list[str]:
    rows = [row for _, row in read_rows(path)]
    if rows and all(cell.lower() in _HEADER for cell in rows[0]):
        rows = rows[1:]
    pairs = [(row[0], row[-1]) for row in rows]
    if all(len(row) == 2 for row in rows) and any(all(_index(pair[n]) is not None for pair in pairs) for n in (0, 1)):
        return _in_order(pairs, path)
    return [row[-1] for row in rows]


_HEADER = {"index", "idx", "id", "class", "class_index", "class_id", "name", "class_name", "label"}


def _in_order(pairs: Iterable[tuple[object, object]], where: str | Path) -> list[str]:
    """The names, in the order of their indices; either side of the pairs may be the indices."""
    pairs = list(pairs)
    sides = [list(side) for side in zip(*pairs, strict=True)] or [[], []]
    numbers = [[_index(value) for value in side] for side in sides]
    fitting = [n for n in (0, 1) if sorted(i for i in numbers[n] if i is not None) == list(range(len(pairs)))]
    if len(fitting) == 2 and numbers[0] != numbers[1]:
        # Both sides may be indices: those that are numbers are, where the other side's are texts.
        fitting = [n for n in fitting if all(isinstance(value, Integral) for value in sides[n])]
        if len(fitting) != 1:
            raise SaywhyError(
                f"{where}: which side of the names is the class indices? Give a list of names in class order"
            )
    if not fitting:
        found = next((some for some in numbers if None not in some), None)
        if found is None:
            raise SaywhyError(f"{where}: expected class indices and names, as {{0: name}} or {{name: 0}}")
        given = sorted(index for index in found if index is not None)
        raise SaywhyError(
            f"{where}: class indices must run from 0 to {len(pairs) - 1} without gaps, each once; these are "
            f"{listed(given)}"
        )
    indices, names = numbers[fitting[0]], sides[1 - fitting[0]]
    by_index = dict(zip(indices, names, strict=True))
    return [_one_name(by_index[index], where) for index in range(len(pairs))]


def _index(value: object) -> int | None:
    """The whole number that a value is or spells; None where it is none."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value) else None
