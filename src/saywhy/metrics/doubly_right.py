"""Is the category right, and is the reason? RR, RW, WR, WW of ranked (category, rationale) pairs, with intervals.

Source: Doubly Right Object Recognition (Mao et al., CVPR 2023), whose four rates ECOR reports as well. Pairs are
compared by their indices and the vote is over all k of them ("strict"); what DoubleRight's own script computes, errors
included, is there for comparison ("dror_compat"). Nothing here depends on how the pairs were found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import final

import numpy as np

from saywhy.errors import SaywhyError
from saywhy.pictures.truth import Gold
from saywhy.spaces.pairs.ranking import Ranked, check_k, vote
from saywhy.words.rationale_words import RationaleWords

RR, RW, WR, WW = range(4)
OUTCOMES = ("RR", "RW", "WR", "WW")  # right or wrong category, then right or wrong rationale
MODES = ("strict", "dror_compat")
NEEDS = ("any", "all")


@final
@dataclass(frozen=True, eq=False)
class FolderNames:
    """The names that DoubleRight's evaluation compares, of N pictures: it knows prompts and folders, no indices.

    words:      as in the prompts. Its v2 and deep scripts normalise them (``spoken``), the zero-shot one does not.
    categories: (N) the folder of each picture's category, as it is on disk ("kit_fox").
    rationales: (N) the folder of its rationale, as the script reads it; see ``folder_names``.
    """

    words: RationaleWords
    categories: tuple[str, ...]
    rationales: tuple[str, ...]


def folder_names(words: RationaleWords, paths: Sequence[Path], folder: Path) -> FolderNames:
    """Of pictures at ``folder``/category/rationale/0/picture, as DoubleRight's script reads them.

    A rationale with a slash in it lies in nested folders. The script meant to join their names, but lists the inner
    folder where it wanted its name: "red/yellow bill/0" becomes "red/0", which no prompt contains.

    Raises SaywhyError for a path that does not lie so.
    """
    categories, rationales = [], []
    for path in paths:
        parts = path.relative_to(folder).parts if path.is_relative_to(folder) else ()
        if len(parts) < 4:
            raise SaywhyError(f"{path} is not {folder}/CATEGORY/RATIONALE/0/PICTURE; dror_compat needs that layout")
        category, outer, *inner, digit, _ = parts
        categories.append(category)
        rationales.append("/".join([outer, *inner[1:], digit]) if inner else outer)
    return FolderNames(words, tuple(categories), tuple(rationales))


def outcomes(
    ranked: Ranked,
    gold: Gold,
    k: int,
    mode: str = "strict",
    names: FolderNames | None = None,
    need: str = "any",
) -> np.ndarray:
    """(N,) int8: RR, RW, WR or WW of each picture, from its first k pairs.

    The category is the one voted for. The rationale is right where a true one is paired with it among the first k: so
    WR is a true rationale given for a wrong category. RR + RW is the accuracy of the category; RR + WR is nothing.
    With k = 1 there is no vote, and RR is the share of pictures whose best pair is a true one.

    mode:  "strict": by indices, with the full vote. "dror_compat": as the ``dr_validate`` of DoubleRight's scripts
           does: the count of votes stops at the first pair that is right, a name is found wherever its letters are
           ("sea" in "seal"), and the voted category as it is said must equal the folder's name as it is written.
    names: what "dror_compat" compares; it has no use in "strict".
    need:  of several true rationales "any" must be among those given, or "all".

    Raises SaywhyError for k or numbers of pictures that do not fit, an unknown mode or need, and for "dror_compat"
    without names or with several true rationales of a picture (of which it knows nothing).
    """
    check_k(ranked, k)
    if len(ranked.categories) != len(gold.categories):
        raise SaywhyError(f"{len(ranked.categories)} pictures are ranked, but {len(gold.categories)} have a truth")
    if mode not in MODES or need not in NEEDS:
        raise SaywhyError(
            f"mode {mode!r} with need {need!r}: mode must be {' or '.join(MODES)}, need {' or '.join(NEEDS)}"
        )
    if mode == "dror_compat":
        return _as_dror(ranked, gold, k, names)
    voted = vote(ranked, k)
    true, given = gold.table, _given(ranked, voted, k)
    matched = (true[:, :, None] == given[:, None, :]).any(2)
    hit = matched.any(1) if need == "any" else (matched | (true < 0)).all(1)
    return _coded(voted == gold.categories, hit)


def rationale_scores(ranked: Ranked, gold: Gold, k: int) -> dict[str, np.ndarray]:
    """(N,) each: precision, recall and F1 of the rationales that are given for the voted category among the first k.

    "precision", "recall", "F1" ask nothing of the category; "doubly precision" and so on are 0 where it is wrong. The
    mean over pictures is the macro average. By indices; raises SaywhyError as ``outcomes``.
    """
    right = outcomes(ranked, gold, k) < WR
    true, given = gold.table, _given(ranked, vote(ranked, k), k)
    for j in range(1, k):  # a set: what was given before is not counted again
        given[:, j][(given[:, :j] == given[:, j : j + 1]).any(1)] = NONE
    hits = (true[:, :, None] == given[:, None, :]).any(2).sum(1)
    precision = hits / np.maximum((given >= 0).sum(1), 1)
    recall = hits / (true >= 0).sum(1)
    scores = {"precision": precision, "recall": recall, "F1": 2 * hits / ((given >= 0).sum(1) + (true >= 0).sum(1))}
    return scores | {f"doubly {name}": np.where(right, values, 0.0) for name, values in scores.items()}


def shares(found: np.ndarray) -> np.ndarray:
    """(..., 4) how much of RR, RW, WR and WW each picture is, of codes (...) from ``outcomes``.

    What holds only on average (a control, say) is written in the same form, and goes the same way from here.
    """
    return np.eye(4)[found]


def rates(found: np.ndarray) -> dict[str, float]:
    """RR, RW, WR and WW in percent, of codes (N,) or of shares (..., 4). They sum to 100."""
    found = shares(found) if np.issubdtype(found.dtype, np.integer) else found
    return dict(zip(OUTCOMES, (100 * found.reshape(-1, 4).mean(0)).tolist(), strict=True))


# -- the rules --------------------------------------------------------------------------------------------------------

NONE = -2  # fills up given ones: unequal to ABSENT, so that they never meet


def _coded(right: np.ndarray, hit: np.ndarray) -> np.ndarray:
    return (2 * ~right + ~hit).astype(np.int8)


def _given(ranked: Ranked, voted: np.ndarray, k: int) -> np.ndarray:
    """(N, k) int: the rationales given for the voted category, NONE elsewhere."""
    rationales = ranked.rationales[:, :k]
    return np.where((ranked.categories[:, :k] == voted[:, None]) & (rationales >= 0), rationales, NONE)


def _as_dror(ranked: Ranked, gold: Gold, k: int, names: FolderNames | None) -> np.ndarray:
    """What dr_validate does, on the texts of the prompts; written anew, from what it computes."""
    if names is None or not len(names.categories) == len(names.rationales) == len(gold.categories):
        raise SaywhyError(
            "dror_compat compares names: pass those of the pictures' folders as names= (see folder_names)"
        )
    if any(len(true) > 1 for true in gold.rationales):
        raise SaywhyError("dror_compat knows one true rationale a picture; evaluate several with mode 'strict'")
    text, said = lru_cache(maxsize=None)(names.words.pair_text), names.words.categories
    right, hit = np.empty((2, len(gold.categories)), bool)
    for n, (categories, rationales) in enumerate(zip(ranked.categories, ranked.rationales, strict=True)):
        folder, rationale = names.categories[n], names.rationales[n].replace("__", "/")
        pairs = list(zip(categories[:k].tolist(), rationales[:k].tolist(), strict=True))
        texts = [text(c, r) if r >= 0 else "" for c, r in pairs]
        both = [folder.replace("_", " ") in line and rationale in line for line in texts]
        walked = both.index(True) + 1 if any(both) else k
        votes = Counter(said[c] for c, _ in pairs[:walked])
        predicted = max(votes, key=votes.__getitem__)  # of equals the first that was counted
        right[n] = predicted == folder
        hit[n] = any(both) if right[n] else any(predicted in line and rationale in line for line in texts)
    return _coded(right, hit)
