"""Pictures with categories and rationales, read from a folder in the doubly-right layout or from a table of your own.

Source: Doubly Right Object Recognition (Mao et al. 2023), "DROR", whose six data sets are folders
{train,test}/{category}/{rationale}/{number of the query}/{picture} and a JSON {category: [rationale, ...]}. Names are
compared as they are said (``spoken``) and whole: in some of the sets the folders are named as the JSON names them, in
some as they are said, and a name with a "/" is a folder in a folder.
"""

from __future__ import annotations

import os
from pathlib import Path

from saywhy.errors import SaywhyError
from saywhy.pictures.rationale_folders import LISTS, NameIndex, read_folders, shown_path, split_names
from saywhy.pictures.truth import RationaleData, RationaleImage
from saywhy.plumbing.names import unknown
from saywhy.plumbing.texts import read_table
from saywhy.words.rationale_lists import TEMPLATES, Oddity, read_rationales, words_of_pairs
from saywhy.words.rationale_words import Templates, spoken

GOLDS = ("query", "all")


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

    What does not fit is left out and reported in ``oddities``. No picture is opened; see ``check_pictures``.
    Raises SaywhyError where there is no such source, split or list, and where no picture is left.
    """
    root = Path(source)
    if gold not in GOLDS:
        raise unknown("gold", gold, GOLDS)
    _check_split(root, split)
    if root.is_dir():
        return read_folders(root, split, rationales, gold, templates)
    return _read_table(root, split, rationales, templates)


def _read_table(path: Path, split: str, rationales: str | Path | None, templates: Templates) -> RationaleData:
    rows = read_table(path, ("picture", "category", "rationale"))
    beside = next((path.parent / name for name in LISTS if (path.parent / name).is_file()), None)
    listing = Path(rationales) if rationales is not None else None if beside == path else beside
    if listing is None:
        seen = dict.fromkeys((row["category"], name) for _, row in rows for name in _several(row["rationale"]))
        words, oddities = words_of_pairs([pair for pair in seen if pair[0]], str(path), templates)
    else:
        words, oddities = read_rationales(listing, templates)
    index = NameIndex.of(words)
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
        category = index.categories.get(spoken(row["category"]))
        known, all_of = pictures.setdefault(file, (-1 if category is None else category, set()))
        if category is None:
            says = f"{row['category']!r} is not listed; {row['picture']} is left out"
            left_out[file] = Oddity("no such category", where, says, 1)
        elif known != category:
            says = f"{row['picture']} is of another category in an earlier row; it is left out"
            left_out[file] = Oddity("two categories", where, says, 1)
        else:
            for name in _several(row["rationale"]):
                rationale = index.listed(category, spoken(name))
                if rationale is not None:
                    all_of.add(rationale)
                else:
                    says = f"{name!r} is not listed for {row['category']!r}; it is left out"
                    oddities = (*oddities, Oddity("no such rationale", where, says))
    for file, (_, all_of) in pictures.items():
        if file not in left_out and not all_of:
            left_out[file] = Oddity("no rationale", shown_path(file, path.parent), "no row of it has one; left out", 1)
        elif file not in left_out and not os.path.isfile(file):
            left_out[file] = Oddity(
                "missing", shown_path(file, path.parent), "there is no such file; it is left out", 1
            )
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
    return [name.strip() for name in cell.split(";") if name.strip()]


def _check_split(root: Path, split: str) -> None:
    splits = split_names(root)
    if split.lower() in splits or (root.is_dir() and (root / split).is_dir()):
        return
    if splits != ("",):
        raise unknown("split", split, splits, lead=f"{root}: there is no")
    lacking = "no folder train or test" if root.is_dir() else "no column split"
    raise SaywhyError(f"{root}: has {lacking}, so there is no split {split!r}; read all of it with split=''")
