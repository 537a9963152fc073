"""The doubly-right layout: CATEGORY/RATIONALE/0/PICTURE, read and written."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from PIL import Image

from saywhy.errors import SaywhyError
from saywhy.pictures.reading import ENDINGS
from saywhy.pictures.truth import RationaleData, RationaleImage
from saywhy.plumbing.files import replacing, write_whole
from saywhy.plumbing.texts import read_table
from saywhy.words.rationale_lists import Oddity, read_rationales, words_of_pairs
from saywhy.words.rationale_words import RationaleWords, Templates, spoken

LISTS = ("rationales.json", "rationales.csv")
GOLD = "gold.csv"
SPLITS = ("train", "val", "test")
DEEPEST = 12  # folders below a split: a link to a folder above it would have no end
LITTER = {"__MACOSX", ".git", ".ipynb_checkpoints", "@eaDir", ".DS_Store", "Thumbs.db", "desktop.ini"}


def split_names(source: str | Path) -> tuple[str, ...]:
    """The splits of a folder or table, the usual ones first; ("",) where it has none.

    Raises SaywhyError where there is no such folder or table.
    """
    root = Path(source)
    if not os.path.exists(root):
        raise SaywhyError(f"{root}: there is no such folder or table")
    if root.is_dir():
        return tuple(name for name in SPLITS if (root / name).is_dir()) or ("",)
    if root.suffix.lower() != ".csv":
        raise SaywhyError(f"{root}: expected a folder in the doubly-right layout, or a .csv")
    splits = {row.get("split", "").lower() for _, row in read_table(root, ("picture", "category", "rationale"))} - {""}
    return tuple(sorted(splits, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name))) or (
        "",
    )


def write_doubly_right(
    out: str | Path,
    images: Iterable[tuple[str, str, Sequence[str], Image.Image]],
    lists: Mapping[str, Sequence[str]],
) -> None:
    """Write (split, category, rationales, picture) in the doubly-right layout, as PNG; one picture is held at a time.

    A picture lies under its first rationale; all of them are in gold.csv (picture, category, rationale).
    rationales.json holds the lists and is written last: without it, the folder is incomplete.

    Raises SaywhyError where ``out`` is not an empty folder, and for a picture with unlisted rationales.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SaywhyError(f"{out}: already exists; name a new or an empty folder")
    known = {spoken(category): {spoken(r) for r in listed} for category, listed in lists.items()}
    gold: list[tuple[str, str, str]] = []
    for n, (split, category, rationales, picture) in enumerate(images):
        strange = [r for r in rationales if spoken(r) not in known.get(spoken(category), ())]
        if strange or not rationales:
            problem = f"rationales that are not listed for it: {', '.join(strange)}" if strange else "no rationale"
            raise SaywhyError(f"picture {n} of {category!r} has {problem}")
        folder = out.joinpath(split, _folder_name(category), _folder_name(rationales[0]), "0")
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / f"{n:06}.png") as file:
            picture.save(file, "PNG")
        name = (folder / f"{n:06}.png").relative_to(out).as_posix()
        gold += [(name, category, rationale) for rationale in rationales]
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / GOLD) as path, path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("picture", "category", "rationale"), *gold])
    write_whole(out / LISTS[0], json.dumps({c: list(listed) for c, listed in lists.items()}, indent=1))


def _listed_beside(root: Path) -> Path | None:
    """The file of a folder that holds its lists. Raises SaywhyError where it could be several."""
    for name in LISTS:
        if (root / name).is_file():
            return root / name
    candidates = sorted(root.glob("*.json"))
    if len(candidates) > 1:
        names = ", ".join(path.name for path in candidates)
        raise SaywhyError(
            f"{root}: the lists of rationales may be in {names}; name one of them, or rename it {LISTS[0]}"
        )
    return candidates[0] if candidates else None


@final
@dataclass(frozen=True)
class _Folder:
    """A folder that holds files, or nothing at all. names: of the folders from the split down to it."""

    names: tuple[str, ...]
    pictures: tuple[str, ...]
    others: tuple[str, ...]


def read_folders(
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
    noticed: list[Oddity] = []
    index = NameIndex.of(words)
    for folder in folders:
        pair, oddity = _look(folder, index, Path(split).joinpath(*folder.names).as_posix())
        noticed += oddity
        if pair is not None:
            path = top.joinpath(*folder.names)
            images += [RationaleImage(path / name, pair[0], (pair[1],)) for name in folder.pictures]
    if not images:
        raise SaywhyError(_nothing(top, listing, noticed))
    if gold == "all":
        images, more = _with_gold(images, root, words)
        noticed += more
        images = [replace(image, known=image.rationales) for image in images]
    elif (root / GOLD).is_file():
        noted = {image.path: image.rationales for image in _with_gold(images, root, words)[0]}
        images = [replace(image, known=noted.get(image.path, ())) for image in images]
    return RationaleData(root, words, tuple(sorted(images, key=lambda i: i.path)), (*oddities, *noticed))


def _folders(top: Path) -> Iterator[_Folder]:
    """Everything below ``top``, in order of name."""

    def refuse(error: OSError) -> None:
        raise SaywhyError(f"{error.filename}: cannot be read ({error.strerror or error})") from None

    for folder, folders, files in os.walk(top, followlinks=True, onerror=refuse):
        names = Path(folder).relative_to(top).parts
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
class NameIndex:
    """Finds the indices of categories and rationales by name."""

    words: RationaleWords
    categories: Mapping[str, int]
    rationales: Mapping[str, int]

    @classmethod
    def of(cls, words: RationaleWords) -> NameIndex:
        return cls(
            words,
            {name: c for c, name in enumerate(words.categories)},
            {name: r for r, name in enumerate(words.rationales)},
        )

    def listed(self, category: int, name: str) -> int | None:
        """The rationale of this name, where the category has it on its list."""
        rationale = self.rationales.get(name)
        return rationale if rationale is not None and rationale in self.words.lists[category] else None


def _look(folder: _Folder, index: NameIndex, where: str) -> tuple[tuple[int, int] | None, list[Oddity]]:
    """(category, rationale) of the pictures in a folder, or None; and what is odd there."""
    odd = []
    if not folder.pictures and not folder.others:
        odd.append(Oddity("empty folder", where, "there is nothing in it"))
    if folder.others and folder.names:  # beside the categories lie lists and notes
        count = len(folder.others)
        files = "a file" if count == 1 else f"{count} files"
        says = f"{files} left out: by the ending no picture, such as {folder.others[0]!r}"
        odd.append(Oddity("no picture", where, says))
    pair = _pair(folder.names, index)
    if pair is None and folder.pictures:
        odd.append(_no_match(folder, index, where))
    return pair, odd


def _pair(names: Sequence[str], index: NameIndex) -> tuple[int, int] | None:
    """Where the names end and begin cannot be seen, so all ways are tried; what is listed decides."""
    for chain in dict.fromkeys((tuple(names), _without_number(names))):
        for cut in range(len(chain) - 1, 0, -1):
            category = index.categories.get(_said(chain[:cut]))
            if category is None:
                continue
            for name in _readings(chain[cut:]):
                rationale = index.listed(category, name)
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


def _no_match(folder: _Folder, index: NameIndex, where: str) -> Oddity:
    chain = _without_number(folder.names)
    count = len(folder.pictures)
    left = "its picture is left out" if count == 1 else f"its {count} pictures are left out"
    cuts = [n for n in range(len(chain), 0, -1) if _said(chain[:n]) in index.categories]
    if not cuts:
        return Oddity("no such category", where, f"no category that is listed is called so; {left}", count)
    name, category = _said(chain[cuts[0] :]), _said(chain[: cuts[0]])
    if not name:
        return Oddity("no rationale", where, f"pictures lie in folders of rationales; {left}", count)
    return Oddity("no such rationale", where, f"{name!r} is not listed for {category!r}; {left}", count)


def _nothing(top: Path, listing: Path | None, noticed: Sequence[Oddity]) -> str:
    """Why no picture could be used, as one sentence."""
    skipped = [oddity for oddity in noticed if oddity.skipped]
    if not skipped:
        return f"{top}: there are no pictures in it"
    first = skipped[0]
    lists = f"with the lists of {listing}" if listing is not None else "with the lists made from its folders"
    return (
        f"{top}: none of its {sum(oddity.skipped for oddity in skipped)} pictures can be used {lists}; do they "
        f"belong to this data? ({first.where}: {first.says})"
    )


def _with_gold(
    images: Sequence[RationaleImage], root: Path, words: RationaleWords
) -> tuple[list[RationaleImage], list[Oddity]]:
    """The pictures with all the rationales that gold.csv gives them; those that it does not name stay as they are."""
    path = root / GOLD
    if not path.is_file():
        raise SaywhyError(f"{path}: does not exist, and gold='all' needs it; use gold='query'")
    index, oddities = NameIndex.of(words), []
    all_of: dict[str, set[int]] = {}
    categories = {shown_path(image.path, root): image.category for image in images}
    for line, row in read_table(path, ("picture", "category", "rationale")):
        name = Path(row["picture"]).as_posix()
        category = categories.get(name)
        if category is None:  # of another split, or left out before
            continue
        rationale = index.listed(category, spoken(row["rationale"]))
        if rationale is None or index.categories.get(spoken(row["category"])) != category:
            says = f"{row['category']}, {row['rationale']!r}: no rationale of this picture's category; it is left out"
            oddities.append(Oddity("no such rationale", f"{GOLD}:{line}", says))
        else:
            all_of.setdefault(name, set()).add(rationale)
    whole = [
        replace(image, rationales=tuple(sorted(all_of.get(shown_path(image.path, root), image.rationales))))
        for image in images
    ]
    return whole, oddities


def _folder_name(name: str) -> str:
    folder = name.replace("/", "__").replace("\\", "__").strip()
    if not spoken(folder) or folder in (".", "..") or folder in LITTER:
        raise SaywhyError(f"{name!r} cannot be the name of a folder; rename the category or rationale")
    return folder


def shown_path(path: Path, root: Path) -> str:
    """The path relative to the root, if it lies below it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
