"""Pictures with a category and with rationales: the layout of the doubly-right data sets, a table of one's own, lists.

Source: Doubly Right Object Recognition (Mao et al. 2023), "DROR", whose six data sets are folders
{train,test}/{category}/{rationale}/{number of the query}/{picture} and a JSON {category: [rationale, ...]}. Names are
compared as they are said (``spoken``) and whole: in some of the sets the folders are named as the JSON names them, in
some as they are said, and a name with a "/" is a folder in a folder.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
from PIL import Image

from saywhy.errors import SaywhyError
from saywhy.metrics.doubly_right import Gold
from saywhy.pictures.reading import ENDINGS
from saywhy.plumbing.files import replacing
from saywhy.words.rationale_lists import TEMPLATES, Oddity, read_rationales, read_rows, words_of_pairs
from saywhy.words.rationale_words import RationaleWords, Templates, spoken

LISTS = ("rationales.json", "rationales.csv")
GOLD = "gold.csv"
GOLDS = ("query", "all")
SPLITS = ("train", "val", "test")
DEEPEST = 12  # folders below a split: a link to a folder above it would have no end
LITTER = {"__MACOSX", ".git", ".ipynb_checkpoints", "@eaDir", ".DS_Store", "Thumbs.db", "desktop.ini"}
BLOCK = 4096  # draws at a time


@final
@dataclass(frozen=True)
class RationaleImage:
    """One picture.

    category:   index into the words' categories.
    rationales: what is true of it: indices into the words' rationales, sorted, at least one.
    """

    path: Path
    category: int
    rationales: tuple[int, ...]


@final
@dataclass(frozen=True, eq=False)
class RationaleData:
    """One split of a data set. images: sorted by path."""

    root: Path
    words: RationaleWords
    images: tuple[RationaleImage, ...]
    oddities: tuple[Oddity, ...]


def read_rationale_data(
    source: str | Path,
    split: str = "train",
    rationales: str | Path | None = None,
    *,
    gold: str = "query",
    templates: Templates = TEMPLATES,
) -> RationaleData:
    """One split of a folder in the doubly-right layout, or of a table.

    source:     a folder: {split}/{category}/{rationale}/{number}/{picture}; "/" in a name is "__" or a folder more, and
                the numbers may be left out. A .csv: the columns picture (a path, from the table's folder), category,
                rationale and, where it has splits, split; a picture's rationales in several rows, or parted by ";".
    split:      a folder's or table's; "": it has none.
    rationales: the lists, for ``read_rationales``. None: rationales.json or .csv beside the pictures, or the only .json
                of the folder; otherwise a category's rationales are those that its pictures (of all splits) have.
    gold:       of a folder, "query": the rationale that a picture lies under; "all": those that gold.csv gives it (see
                ``write_doubly_right``). Of a table, always all.

    What does not fit is left out and told in ``oddities``. No picture is opened; see ``check_pictures``.
    Raises SaywhyError where there is no such source, split or list, and where no picture is left.
    """
    root = Path(source)
    if gold not in GOLDS:
        raise SaywhyError(f"there is no gold {gold!r}; there is {' and '.join(GOLDS)}")
    _check_split(root, split)
    if root.is_dir():
        return _read_folders(root, split, rationales, gold, templates)
    return _read_table(root, split, rationales, templates)


def gold_of(images: Sequence[RationaleImage]) -> Gold:
    """What is true of pictures, in the form of the evaluator."""
    return Gold(np.array([i.category for i in images], int), tuple(frozenset(i.rationales) for i in images))


def evenly(count: int, most: int) -> np.ndarray:
    """Indices of at most so many of ``count`` things, spread evenly over them, the first and the last among them."""
    return np.linspace(0, count - 1, min(most, count)).round().astype(int)


def split_names(source: str | Path) -> tuple[str, ...]:
    """The splits of a folder or table, the usual ones first; ("",) where it has none.

    Raises SaywhyError where there is no such folder or table.
    """
    root = Path(source)
    if not root.exists():
        raise SaywhyError(f"{root}: there is no such folder or table")
    if root.is_dir():
        return tuple(name for name in SPLITS if (root / name).is_dir()) or ("",)
    if root.suffix.lower() != ".csv":
        raise SaywhyError(f"{root}: data with rationales are a folder in the doubly-right layout, or a .csv")
    found = {row.get("split", "").lower() for _, row in read_rows(root, ("picture", "category", "rationale"))} - {""}
    return tuple(sorted(found, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name))) or ("",)


def joined(data: RationaleData, others: Sequence[RationaleData] = ()) -> RationaleData:
    """The data with one rationale to a picture: a set of several becomes a rationale, "a red bill and a long tail".

    This is the paper's general m (ECOR, section III-C): "There are {r1} and {r2} in the photo." Rationales keep their
    indices, sets come after them; the list of a category is its rationales, then the sets that pictures of it have.

    others: further splits, read with the same lists: their sets count too, so that all splits have the same words.

    Raises SaywhyError where the others have other words.
    """
    words = data.words
    if any(other.words != words for other in others):
        raise SaywhyError("splits are joined only with splits that were read with the same lists of rationales")
    pictures = [image for part in (data, *others) for image in part.images]
    sets = sorted(
        {i.rationales for i in pictures if len(i.rationales) > 1}, key=lambda members: (len(members), members)
    )
    indices = {name: r for r, name in enumerate(words.rationales)}
    several = dict(words.several or {})
    places: dict[tuple[int, ...], int] = {}
    for members in sets:
        names = [words.rationales[r] for r in members]
        name = " and ".join(names)
        if name not in indices:  # "bread and butter" may be listed as one thing: the same words, the same rationale
            indices[name] = len(indices)
            several[indices[name]] = tuple(names)
        places[members] = indices[name]
    seen = sorted({(i.category, places[i.rationales]) for i in pictures if len(i.rationales) > 1})
    lists = [dict.fromkeys(listed) for listed in words.lists]
    for category, place in seen:
        lists[category][place] = None
    images = tuple(replace(i, rationales=(places.get(i.rationales, i.rationales[0]),)) for i in data.images)
    together = replace(words, rationales=tuple(indices), lists=tuple(map(tuple, lists)), several=several or None)
    return replace(data, words=together, images=images)


def pair_balanced(data: RationaleData, seed: int, start: int = 0) -> Iterator[int]:
    """Indices of pictures without end: a category that has pictures, one of their rationales, one of those, uniformly.

    So DROR draws, with replacement (it draws the number of the query too, before the picture).

    start: how many draws to leave out; those that follow are the same, at once.
    """
    rows: dict[int, dict[int, list[int]]] = {}
    for n, image in enumerate(data.images):
        for rationale in image.rationales:
            rows.setdefault(image.category, {}).setdefault(rationale, []).append(n)
    pairs = [pictures for _, lists in sorted(rows.items()) for _, pictures in sorted(lists.items())]
    pictures = np.concatenate([np.asarray(pair) for pair in pairs])
    pair_counts = np.array([len(lists) for _, lists in sorted(rows.items())])
    picture_counts = np.array([len(pair) for pair in pairs])
    first_pair, first_picture = (np.cumsum(counts) - counts for counts in (pair_counts, picture_counts))
    block, skipped = divmod(start, BLOCK)
    while True:
        draws = np.random.default_rng((seed, block)).random((3, BLOCK))
        category = (draws[0] * len(pair_counts)).astype(int)
        pair = first_pair[category] + (draws[1] * pair_counts[category]).astype(int)
        picture = first_picture[pair] + (draws[2] * picture_counts[pair]).astype(int)
        yield from pictures[picture[skipped:]].tolist()
        block, skipped = block + 1, 0


def epoch_order(data: RationaleData, seed: int, epoch: int) -> np.ndarray:
    """(N,) every picture's index once, in an order of this seed's and epoch's own."""
    return np.random.default_rng((seed, epoch)).permutation(len(data.images))


def check_pictures(data: RationaleData, tracked: Iterable[RationaleImage] | None = None) -> RationaleData:
    """The data without the pictures that cannot be opened, each told as an oddity. Reads headers, not pixels.

    tracked: the data's images, for a progress bar.

    Raises SaywhyError where there is none, or none can be opened.
    """
    images, oddities = [], []
    for image in data.images if tracked is None else tracked:
        problem = _problem(image.path)
        if problem is None:
            images.append(image)
        else:
            oddities.append(Oddity("cannot be opened", _place(image.path, data.root), f"{problem}; it is left out", 1))
    if not data.images:
        raise SaywhyError(f"{data.root}: there is no picture in it")
    if not images:
        raise SaywhyError(f"{data.root}: none of the {len(data.images)} pictures can be opened ({oddities[0].says})")
    return replace(data, images=tuple(images), oddities=(*data.oddities, *oddities))


def same_pictures(one: RationaleData, other: RationaleData) -> list[Path]:
    """The pictures of one that are, byte for byte, in the other too. Opens only files of equal size."""
    ours, theirs = ({image.path: image.path.stat().st_size for image in data.images} for data in (one, other))
    sizes = set(ours.values()) & set(theirs.values())
    there = {_digest(path) for path, size in theirs.items() if size in sizes}
    return [path for path, size in ours.items() if size in sizes and _digest(path) in there]


def write_doubly_right(
    out: str | Path,
    images: Iterable[tuple[str, str, Sequence[str], Image.Image]],
    lists: Mapping[str, Sequence[str]],
) -> None:
    """Write (split, category, rationales, picture) in the doubly-right layout, as PNG; one picture is held at a time.

    A picture lies under its first rationale; all of them are in gold.csv (picture, category, rationale).
    rationales.json holds the lists and is written last: without it, what is there is not whole.

    Raises SaywhyError where ``out`` is no empty folder, and for a picture whose rationales its category does not list.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SaywhyError(f"{out}: is there already; name a new or an empty folder")
    known = {spoken(category): {spoken(r) for r in listed} for category, listed in lists.items()}
    gold: list[tuple[str, str, str]] = []
    for n, (split, category, rationales, picture) in enumerate(images):
        strange = [r for r in rationales if spoken(r) not in known.get(spoken(category), ())]
        if strange or not rationales:
            raise SaywhyError(f"picture {n} of {category!r} has {strange or 'no rationale'}; list it for that category")
        folder = out.joinpath(split, _folder_name(category), _folder_name(rationales[0]), "0")
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / f"{n:06}.png") as file:
            picture.save(file, "PNG")
        name = (folder / f"{n:06}.png").relative_to(out).as_posix()
        gold += [(name, category, rationale) for rationale in rationales]
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / GOLD) as path, path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("picture", "category", "rationale"), *gold])
    with replacing(out / LISTS[0]) as path:
        path.write_text(json.dumps({c: list(listed) for c, listed in lists.items()}, indent=1), encoding="utf-8")


def _listed_beside(root: Path) -> Path | None:
    """The file of a folder that holds its lists. Raises SaywhyError where it could be several."""
    for name in LISTS:
        if (root / name).is_file():
            return root / name
    found = sorted(root.glob("*.json"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise SaywhyError(f"{root}: the lists of rationales may be in {names}; name the one, or call it {LISTS[0]}")
    return found[0] if found else None


# Folders


@final
@dataclass(frozen=True)
class _Folder:
    """A folder that holds files, or nothing at all. names: of the folders from the split down to it."""

    names: tuple[str, ...]
    pictures: tuple[str, ...]
    others: tuple[str, ...]


def _read_folders(
    root: Path, split: str, rationales: str | Path | None, gold: str, templates: Templates
) -> RationaleData:
    top = root / split
    folders = list(_folders(top))
    listing = Path(rationales) if rationales is not None else _listed_beside(root)
    if listing is None:
        parts = [folders if name == split else list(_folders(root / name)) for name in {*split_names(root), split}]
        words, oddities = _lists_of_folders([folder for part in parts for folder in part], str(root), templates)
    else:
        words, oddities = read_rationales(listing, templates)
    images: list[RationaleImage] = []
    found: list[Oddity] = []
    places = _Places.of(words)
    for folder in folders:
        pair, oddity = _look(folder, places, Path(split).joinpath(*folder.names).as_posix())
        found += oddity
        if pair is not None:
            path = top.joinpath(*folder.names)
            images += [RationaleImage(path / name, pair[0], (pair[1],)) for name in folder.pictures]
    if not images:
        raise SaywhyError(_nothing(top, listing, found))
    if gold == "all":
        images, more = _with_gold(images, root, words)
        found += more
    return RationaleData(root, words, tuple(sorted(images, key=lambda i: i.path)), (*oddities, *found))


def _folders(top: Path) -> Iterator[_Folder]:
    """Everything below ``top``, in order of name."""

    def refuse(error: OSError) -> None:
        raise SaywhyError(f"{error.filename}: cannot be read ({error.strerror or error})") from None

    for place, folders, files in os.walk(top, followlinks=True, onerror=refuse):
        names = Path(place).relative_to(top).parts
        folders[:] = sorted(set(folders) - LITTER) if len(names) < DEEPEST else []
        files = sorted(name for name in set(files) - LITTER if not name.startswith("._"))
        if files or not folders:
            pictures = {name: os.path.splitext(name)[1].lower() in ENDINGS for name in files}
            yield _Folder(
                names,
                tuple(name for name, is_picture in pictures.items() if is_picture),
                tuple(name for name, is_picture in pictures.items() if not is_picture),
            )


def _lists_of_folders(
    folders: Sequence[_Folder], where: str, templates: Templates
) -> tuple[RationaleWords, tuple[Oddity, ...]]:
    """Words of the folders' own names: the first is the category's, the others, but for a number, the rationale's."""
    chains = [_without_number(folder.names) for folder in folders if folder.pictures and len(folder.names) > 1]
    pairs = dict.fromkeys((names[0], "/".join(names[1:])) for names in chains if len(names) > 1)
    if not pairs:
        raise SaywhyError(
            f"{where}: there are no pictures in folders CATEGORY/RATIONALE, nor a JSON of rationales; is it in the "
            "doubly-right layout?"
        )
    words, oddities = words_of_pairs(sorted(pairs), where, templates)
    says = "there is no file of lists: a category's rationales are those that it has folders of"
    deeper = sum(len(names) > 2 for names in chains)
    if deeper:
        says += f"; {deeper} lie a folder deeper, whose name was read as the rationale's after a slash"
    return words, (Oddity("no lists", where, says), *oddities)


@final
@dataclass(frozen=True)
class _Places:
    """Indices of categories and rationales by name."""

    words: RationaleWords
    categories: Mapping[str, int]
    rationales: Mapping[str, int]

    @classmethod
    def of(cls, words: RationaleWords) -> _Places:
        return cls(
            words,
            {name: c for c, name in enumerate(words.categories)},
            {name: r for r, name in enumerate(words.rationales)},
        )

    def listed(self, category: int, name: str) -> int | None:
        """The rationale of this name, where the category has it on its list."""
        rationale = self.rationales.get(name)
        return rationale if rationale is not None and rationale in self.words.lists[category] else None


def _look(folder: _Folder, places: _Places, where: str) -> tuple[tuple[int, int] | None, list[Oddity]]:
    """(category, rationale) of the pictures in a folder, or None; and what is odd there."""
    odd = []
    if not folder.pictures and not folder.others:
        odd.append(Oddity("empty folder", where, "there is nothing in it"))
    if folder.others and folder.names:  # beside the categories lie lists and notes
        count = len(folder.others)
        files = "a file" if count == 1 else f"{count} files"
        says = f"{files} left out: by the ending no picture, such as {folder.others[0]!r}"
        odd.append(Oddity("no picture", where, says))
    pair = _pair(folder.names, places)
    if pair is None and folder.pictures:
        odd.append(_no_match(folder, places, where))
    return pair, odd


def _pair(names: Sequence[str], places: _Places) -> tuple[int, int] | None:
    """Where the names end and begin cannot be seen, so all ways are tried; what is listed decides."""
    for chain in dict.fromkeys((tuple(names), _without_number(names))):
        for cut in range(len(chain) - 1, 0, -1):
            category = places.categories.get(_said(chain[:cut]))
            if category is None:
                continue
            for name in _readings(chain[cut:]):
                rationale = places.listed(category, name)
                if rationale is not None:
                    return category, rationale
    return None


def _said(names: Sequence[str]) -> str:
    return spoken("/".join(names))


def _readings(names: Sequence[str]) -> Iterator[str]:
    """What folders in each other may mean: one name with "/", or a rationale and its detail (``read_rationales``)."""
    yield _said(names)
    for cut in range(1, len(names)):
        yield f"{_said(names[:cut])}, {_said(names[cut:])}"


def _without_number(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(names[:-1] if len(names) > 1 and names[-1].isdecimal() else names)


def _no_match(folder: _Folder, places: _Places, where: str) -> Oddity:
    chain = _without_number(folder.names)
    count = len(folder.pictures)
    left = "its picture is left out" if count == 1 else f"its {count} pictures are left out"
    cuts = [n for n in range(len(chain), 0, -1) if _said(chain[:n]) in places.categories]
    if not cuts:
        return Oddity("no such category", where, f"no category that is listed is called so; {left}", count)
    name, category = _said(chain[cuts[0] :]), _said(chain[: cuts[0]])
    if not name:
        return Oddity("no rationale", where, f"pictures lie in folders of rationales; {left}", count)
    return Oddity("no such rationale", where, f"{name!r} is not listed for {category!r}; {left}", count)


def _nothing(top: Path, listing: Path | None, found: Sequence[Oddity]) -> str:
    """Why no picture could be used, as one sentence."""
    strange = [oddity for oddity in found if oddity.skipped]
    if not strange:
        return f"{top}: there are no pictures in it"
    first = strange[0]
    lists = f"by the lists of {listing}" if listing is not None else "by its folders"
    return (
        f"{top}: none of its {sum(oddity.skipped for oddity in strange)} pictures can be used {lists}; are they of "
        f"this data? ({first.where}: {first.says})"
    )


def _with_gold(
    images: Sequence[RationaleImage], root: Path, words: RationaleWords
) -> tuple[list[RationaleImage], list[Oddity]]:
    """The pictures with all the rationales that gold.csv gives them; those that it does not name stay as they are."""
    path = root / GOLD
    if not path.is_file():
        raise SaywhyError(f"{path}: is not there, and holds all the rationales of a picture; read with gold='query'")
    places, oddities = _Places.of(words), []
    all_of: dict[str, set[int]] = {}
    categories = {_place(image.path, root): image.category for image in images}
    for line, row in read_rows(path, ("picture", "category", "rationale")):
        name = Path(row["picture"]).as_posix()
        category = categories.get(name)
        if category is None:  # of another split, or left out before
            continue
        rationale = places.listed(category, spoken(row["rationale"]))
        if rationale is None or places.categories.get(spoken(row["category"])) != category:
            says = f"{row['category']}, {row['rationale']!r}: no rationale of this picture's category; it is left out"
            oddities.append(Oddity("no such rationale", f"{GOLD}:{line}", says))
        else:
            all_of.setdefault(name, set()).add(rationale)
    whole = [
        replace(image, rationales=tuple(sorted(all_of.get(_place(image.path, root), image.rationales))))
        for image in images
    ]
    return whole, oddities


def _folder_name(name: str) -> str:
    folder = name.replace("/", "__").replace("\\", "__").strip()
    if not spoken(folder) or folder in (".", "..") or folder in LITTER:
        raise SaywhyError(f"{name!r} cannot be the name of a folder; give the category or rationale another")
    return folder


# Tables


def _read_table(path: Path, split: str, rationales: str | Path | None, templates: Templates) -> RationaleData:
    rows = read_rows(path, ("picture", "category", "rationale"))
    beside = next((path.parent / name for name in LISTS if (path.parent / name).is_file()), None)
    listing = Path(rationales) if rationales is not None else None if beside == path else beside
    if listing is None:
        seen = dict.fromkeys((row["category"], one) for _, row in rows for one in _several(row["rationale"]))
        words, oddities = words_of_pairs([pair for pair in seen if pair[0]], str(path), templates)
    else:
        words, oddities = read_rationales(listing, templates)
    places = _Places.of(words)
    pictures: dict[Path, tuple[int, set[int]]] = {}
    left_out: dict[Path | int, Oddity] = {}  # by picture, so that each counts once
    for line, row in rows:
        file, where = path.parent / row["picture"], f"{path.name}:{line}"
        if row.get("split", "").lower() != split.lower():
            if not row.get("split"):
                left_out[line] = Oddity("no split", where, "the row is of no split; it is left out", 1)
            continue
        if not row["picture"] or not row["category"]:
            left_out[line] = Oddity("not whole", where, "a row needs a picture and a category; it is left out", 1)
            continue
        category = places.categories.get(spoken(row["category"]))
        known, all_of = pictures.setdefault(file, (-1 if category is None else category, set()))
        if category is None:
            says = f"{row['category']!r} is not listed; {row['picture']} is left out"
            left_out[file] = Oddity("no such category", where, says, 1)
        elif known != category:
            says = f"{row['picture']} is of another category in an earlier row; it is left out"
            left_out[file] = Oddity("two categories", where, says, 1)
        else:
            for one in _several(row["rationale"]):
                rationale = places.listed(category, spoken(one))
                if rationale is not None:
                    all_of.add(rationale)
                else:
                    says = f"{one!r} is not listed for {row['category']!r}; it is left out"
                    oddities = (*oddities, Oddity("no such rationale", where, says))
    for file, (_, all_of) in pictures.items():
        if file not in left_out and not all_of:
            left_out[file] = Oddity("no rationale", _place(file, path.parent), "no row of it has one; left out", 1)
        elif file not in left_out and not file.is_file():
            left_out[file] = Oddity("missing", _place(file, path.parent), "there is no such file; it is left out", 1)
    images = [
        RationaleImage(file, category, tuple(sorted(all_of)))
        for file, (category, all_of) in sorted(pictures.items())
        if file not in left_out
    ]
    if not images:
        first = next(iter(left_out.values()), None)
        reason = f" ({first.where}: {first.says})" if first else ""
        raise SaywhyError(f"{path}: no picture{f' of {split!r}' if split else ''} can be used{reason}")
    return RationaleData(path.parent, words, tuple(images), (*oddities, *left_out.values()))


def _several(cell: str) -> list[str]:
    return [one.strip() for one in cell.split(";") if one.strip()]


# Of both


def _check_split(root: Path, split: str) -> None:
    there = split_names(root)
    if split.lower() in there or (root.is_dir() and (root / split).is_dir()):
        return
    if there != ("",):
        raise SaywhyError(f"{root}: there is no split {split!r}; there is {', '.join(there)}")
    what = "no folder train or test" if root.is_dir() else "no column split"
    raise SaywhyError(f"{root}: has {what}, so there is no {split!r}; read all of it with split=''")


def _place(path: Path, root: Path) -> str:
    """The path as it is seen from the root."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _digest(path: Path) -> bytes:
    return hashlib.blake2b(path.read_bytes()).digest()


def _problem(path: Path) -> str | None:
    """Why a picture cannot be opened, by its header and, where the format has them, its checksums."""
    try:
        if not path.stat().st_size:
            return "the file is empty"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                image.verify()
    except Image.UnidentifiedImageError:
        return "not a picture in a format that Pillow reads"
    except Exception as error:  # of broken files Pillow's plugins raise whatever comes
        return f"cannot be read ({error})"
    return None
