"""Right for the right reasons? ECOR's tables II, III and IV with one evaluator, blind controls, and tests of use.

Every objective is trained with several seeds on the same pictures with the same recipe, and evaluated on pictures that
were not trained on: of the same categories (tables II and IV) and of others (table III, zero-shot transfer). Beside RR
stand the controls of rationale_controls.py, the skill over the best of them, and the share of right categories whose
rationale is used (rationale_use.py). What is chosen (prompts, temperatures, the weight of the sweep) is chosen on a
validation part, never on the pictures that are evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from saywhy.bench import Report
from saywhy.bench.ecor.figure import use_figure
from saywhy.bench.ecor.regions import COLUMNS, part_map, parts_said, seen_trials, where_rows
from saywhy.bench.ecor.study import TOP, EvaluationSet, Study, aviary_study, folder_study, scoring_of
from saywhy.checks.bottleneck import bottleneck
from saywhy.checks.masking import Trial, trial
from saywhy.checks.picture_change import PictureChange, picture_change
from saywhy.checks.rationale_use import Use, rationale_use
from saywhy.checks.text_swap import TextSwap, absent_rationales, text_swap
from saywhy.errors import SaywhyError
from saywhy.intervals import Interval, bootstrap, difference, interval, interval_of
from saywhy.metrics.blind_controls import Measured, compare, exchanged, measure, own_list_draw
from saywhy.metrics.calibration import forecasts
from saywhy.metrics.doubly_right import WR, folder_names, outcomes, rates
from saywhy.metrics.temperatures import calibrated_scoring, logits, visible_threshold
from saywhy.pictures.truth import evenly, gold_of
from saywhy.seen.reasons import fit_reason_chance
from saywhy.spaces.pairs.beliefs import believe, reason_rows
from saywhy.spaces.pairs.ranking import Ranked, decide, probabilities, rank_with, vote
from saywhy.spaces.pairs.scoring import Scoring
from saywhy.spaces.similarity import FEWEST, UNUSUAL, standing_out, usual_scores
from saywhy.training.prompts.settings import read_recipe, with_settings
from saywhy.worlds.closeups import Closeup
from saywhy.worlds.drawing import PARTS

MAIN = ("clip", "untrained", "dror", "ecor")
ABLATIONS = ("ab1", "ab2", "ab3", "ab4", "ab5", "ab6", "ecor")
ALL = (*MAIN, "ab1", "ab2", "ab4", "ab5", "ab6")
NAMES = {
    "clip": "CLIP", "untrained": "ECOR, untrained", "dror": "DROR", "ecor": "ECOR", "ab1": "AB1 rationale alone",
    "ab2": "AB2 category alone", "ab3": "AB3 (DROR)", "ab4": "AB4 inverse text", "ab5": "AB5 independent",
    "ab6": "AB6 category first",
}  # fmt: skip
NAMED, ANOTHERS = "named", "another picture's"
"""The rationale that is tested: the method's own, and what it named for another picture of the same category."""
PAIRS = (("ecor", "dror"), ("dror", "clip"), ("ecor", "clip"), ("ecor", "untrained"), ("ecor", "ab5"))
SEEDS = 5
DRAWS = 4  # equal areas that a part is held against
TESTED = 320  # pictures that are changed, at most
WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
WORLD = "world:aviary"
Row = dict[str, Any]

_RATES = ("method", "runs", "k", "RR", "RR low", "RR high", "RW", "WR", "WW", "best control", "control's RR", "skill",
          "skill low", "skill high", "used", "used low", "used high")  # fmt: skip
_DIFFERENCES = ("pictures", "k", "difference", "RR", "RR low", "RR high", "skill", "skill low", "skill high")
_CONTROLS = ("pictures", "method", "k", "RR", "own list", "most frequent first", "shuffled pictures",
             "shuffled rationales", "random words")  # fmt: skip
_SEVERAL = ("pictures", "method", "precision", "recall", "F1", "F1 low", "F1 high", "doubly F1", "own list drawn")
_USE = ("method", "rationale", "tested", "used by text", "low", "high", "chance", "used by picture", "picture low",
        "picture high", "used by both", "both low", "both high", "fall of P(r)", "elsewhere", "fall of P(c|r)",
        "elsewhere too")  # fmt: skip
_BOTTLENECK = ("method", "category", "from all rationales", "gap", "gap low", "gap high", "from the best five",
               "gap of five", "chance")  # fmt: skip
_CALIBRATION = ("method", "of", "accuracy", "ECE", "ECE, calibrated", "Brier", "Brier, calibrated", "NLL",
                "NLL, calibrated")  # fmt: skip
_VISIBLE = ("method", "visible from", "true ones", "absent ones", "true ones, at 2", "absent ones, at 2", "because")
_DECIDED = ("pictures", "method", "differ", "vote", "vote low", "vote high", "likeliest", "likeliest low",
            "likeliest high", "gain", "gain low", "gain high", "RR, vote", "RR, likeliest")  # fmt: skip
_SAID = ("method", "said by", "said", "true", "true low", "true high", "another picture's", "pictures with one",
         "all reasons", "all true")  # fmt: skip
_SWEEP = ("weight", "conditional", "validation RR", "RR", "category")
_COMPAT = ("method", "strict RR", "compat RR", "compat, folders' names RR", "strict category", "compat category",
           "compat, folders' names category")  # fmt: skip


def run(
    limit: int | None = None,
    data: Annotated[str | None, "world:aviary, or data with rationales and a training and a test half."] = None,
    space: Annotated[str | None, "The CLIP to tune, instead of the recipe's."] = None,
    train_on: Annotated[str | None, "Data with rationales to tune on."] = None,
    test_on: Annotated[str | None, "Other such data, only evaluated on."] = None,
    recipe: Annotated[str | None, "Recipe of the runs, as for train prompts."] = None,
    seeds: Annotated[str | None, "Runs of each objective."] = None,
) -> Report:
    """limit: pictures of each half, at most; of the aviary for each species and rationale.

    data:     "world:aviary", or a doubly-right folder or table with its training and test halves.
    train_on: another one to train on (by default ``data``); test_on: one that is only evaluated on.
    space:    the CLIP to tune, instead of the recipe's. recipe: a name or file; by default "aviary", "ecor-cifar100".
    seeds:    how many.
    """
    study = _study(limit, data, space, train_on, test_on, recipe, seeds)
    measured = {
        (asked.name, name, k): _measured(study, name, asked, k)
        for asked in _asked(study)
        for name in _shown(ALL, f"measuring on {asked.name}")
        for k in (TOP, 1)
    }
    uses = {
        (name, which): use
        for name in _shown(ALL, "testing whether rationales are used")
        for which, use in _use(study, name, study.test).items()
    }
    test = study.test.name
    more: list[tuple[str, Sequence[str], Sequence[Row]]] = [
        ("table IV: ablations", _RATES, _table(study, measured, uses, test, ABLATIONS))
    ]
    if study.transfer is not None:
        name = study.transfer.name
        more.append((f"table III: {name}, nothing trained on them", _RATES, _table(study, measured, {}, name, MAIN)))
    more += [
        ("differences, paired on the pictures", _DIFFERENCES, _differences(measured, study)),
        ("RR of the controls of each method", _CONTROLS, _controls(measured, study)),
        ("a method that draws its rationales blindly from the predicted category's list", _RATES, _blind(study)),
    ]
    if study.test.known is not None:
        more.append((f"all rationales in view, k = {TOP}", _SEVERAL, _several(study)))
        more.append(("rationales that why says as facts (a picture; percent true)", _SAID, _said(study)))
    used = [_use_row(*which, use) for which, use in uses.items()]
    more.append(("of right categories, those whose rationale is used (percent)", _USE, used))
    if study.test.scenes is not None:
        more.append(("where it sees the rationale: the region on the part (times chance)", COLUMNS, _where(study)))
    more += [
        ("the category from the rationales' scores alone", _BOTTLENECK, _bottlenecks(study)),
        ("probabilities, before and after a temperature for each term", _CALIBRATION, _calibration(study)),
        (
            "rationales that are called visible (percent), from the deviations fitted on validation pictures",
            _VISIBLE,
            _visible(study),
        ),
        ("the category (percent right): the vote of the best pairs, or the highest P(c)", _DECIDED, _decided(study)),
        ("one family: weight and conditional of ECOR's second term", _SWEEP, _sweep(study)),
        (f"the published evaluation, k = {TOP}", _COMPAT, _compat(study)),
    ]
    figures = {"ecor.png": use_figure(measured, uses, test, ALL, NAMES)}
    counts = {
        "trained on": len(study.train.images), "validated on": len(study.validation.images),
        "asked": {asked.name: len(asked.data.images) for asked in _asked(study)},
    }  # fmt: skip
    title = f"table II: doubly right on {test} ({study.clip.name})"
    summary = {"space": study.clip.source, "seeds": study.seeds, **counts, "settings": vars(study.settings)}
    return Report("ecor", title, _RATES, _table(study, measured, uses, test, MAIN), summary, more, figures)


def _study(
    limit: int | None, data: str | None, space: str | None, train_on: str | None, test_on: str | None,
    recipe: str | None, seeds: str | None,
) -> Study:  # fmt: skip
    train_on = train_on or data or WORLD
    if data is not None and train_on != data:
        if test_on is not None:
            raise SaywhyError(f"--data {data} is used neither for training nor for evaluation; leave it out")
        test_on = data
    if seeds is not None and not (seeds.isdigit() and int(seeds) > 0):
        raise SaywhyError(f"--seeds must be a number of runs, at least 1; it is {seeds!r}")
    count = int(seeds) if seeds else SEEDS
    settings = read_recipe(recipe or ("aviary" if train_on == WORLD else "ecor-cifar100"))
    if space is not None:
        settings = with_settings(settings, {"clip": space})
    if train_on.startswith("world:"):
        if train_on != WORLD or test_on is not None:
            raise SaywhyError(f"of the worlds only {WORLD} has rationales; its held-out species need no --test-on")
        return aviary_study(settings, count, limit)
    return folder_study(train_on, test_on, settings, count, limit)


def _asked(study: Study) -> list[EvaluationSet]:
    return [study.test, *([study.transfer] if study.transfer is not None else [])]


def _shown(things: Sequence[Any], what: str) -> Any:
    return track(things, what, console=Console(stderr=True))


# -- the tables -------------------------------------------------------------------------------------------------------


def _measured(study: Study, name: str, evaluated: EvaluationSet, k: int) -> Measured:
    runs = [study.ranked(name, seed, evaluated) for seed in study.runs(name)]
    noise = [study.ranked(name, seed, evaluated, scrambled=seed) for seed in study.runs(name)]
    training = gold_of(study.train.images) if evaluated is study.test else None
    return measure(runs, evaluated.gold, evaluated.words.lists, k, training=training, random_bank=noise)


def _table(
    study: Study, measured: Mapping[Any, Measured], uses: Mapping[tuple[str, str], Use], of: str, names: Sequence[str]
) -> list[Row]:
    trained = {name: "dror" if name == "ab3" else name for name in names}  # AB3 is DROR, and trained as such
    return [
        _rates(name, measured[of, method, k], uses.get((method, NAMED)), k, len(study.runs(method)))
        for k in (TOP, 1)
        for name, method in trained.items()
    ]


def _rates(name: str, result: Measured, use: Use | None, k: int, runs: int) -> Row:
    row: Row = {"method": NAMES.get(name, name), "runs": runs, "k": k, **_with_interval("RR", result.interval("RR"))}
    row |= {rate: result.values[rate] for rate in ("RW", "WR", "WW")}
    row |= {"best control": result.best_control, "control's RR": result.values[result.best_control]}
    row |= _with_interval("skill", result.interval("skill"))
    if use is not None and use.both is not None and k == TOP:
        row |= _with_interval("used", use.both.share)
    return row


def _with_interval(name: str, of: Interval) -> Row:
    return {name: of.value, f"{name} low": of.low, f"{name} high": of.high}


def _differences(measured: Mapping[Any, Measured], study: Study) -> list[Row]:
    rows = []
    for evaluated in _asked(study):
        for k in (TOP, 1):
            for a, b in PAIRS:
                differences = compare(measured[evaluated.name, a, k], measured[evaluated.name, b, k])
                rows.append(
                    {"pictures": evaluated.name, "k": k, "difference": f"{NAMES[a]} - {NAMES[b]}"}
                    | _with_interval("RR", differences["RR"])
                    | _with_interval("skill", differences["skill"])
                )
    return rows


def _controls(measured: Mapping[Any, Measured], study: Study) -> list[Row]:
    return [
        {"pictures": of, "method": NAMES[name], "k": k}
        | {column: result.values[column] for column in _CONTROLS[3:] if column in result.values}
        for (of, name, k), result in measured.items()
    ]


def _blind(study: Study) -> list[Row]:
    """A method that never looks for a rationale has no skill; the same evaluation must find that."""
    rows = []
    for name in MAIN:
        runs = [study.ranked(name, seed, study.test) for seed in study.runs(name)]
        for k in (TOP, 1):
            drawn = [
                own_list_draw(run, study.test.words.lists, k, np.random.default_rng([k, seed]))
                for seed, run in enumerate(runs)
            ]
            result = measure(drawn, study.test.gold, study.test.words.lists, k)
            rows.append(_rates(f"{NAMES[name]}'s category, rationales drawn", result, None, k, len(runs)))
    return rows


def _several(study: Study) -> list[Row]:
    """Against all rationales that are in view, of which the published sets know one."""
    rows = []
    for evaluated in _asked(study):
        assert evaluated.known is not None
        for name in ALL:
            runs = [study.ranked(name, seed, evaluated) for seed in study.runs(name)]
            result = measure(runs, evaluated.known, evaluated.words.lists, TOP)
            blind = [own_list_draw(r, evaluated.words.lists, TOP, np.random.default_rng(s)) for s, r in enumerate(runs)]
            drawn = measure(blind, evaluated.known, evaluated.words.lists, TOP)
            rows.append(
                {"pictures": evaluated.name, "method": NAMES[name], "doubly F1": result.values["doubly F1"],
                 "own list drawn": drawn.values["F1"], **_with_interval("F1", result.interval("F1"))}
                | {column: result.values[column] for column in ("precision", "recall")}
            )  # fmt: skip
    return rows


def _compat(study: Study) -> list[Row]:
    """The same answers in the strict evaluation and in that of the published scripts, which compares names.

    With the folders' names as they are, and as if folders were named as in the prompts ("kit fox" for "Kit-fox").
    """
    evaluated, rows = study.test, []
    try:
        written = folder_names(
            evaluated.words, [image.path for image in evaluated.data.images], evaluated.data.root / "test"
        )
    except SaywhyError:
        return []  # a table of pictures: there are no folders whose names could be compared
    spelled = replace(
        written,
        categories=tuple(evaluated.words.categories[image.category] for image in evaluated.data.images),
        rationales=tuple(evaluated.words.rationales[image.rationales[0]] for image in evaluated.data.images),
    )
    for name in MAIN:
        ranked = [study.ranked(name, seed, evaluated) for seed in study.runs(name)]
        row: Row = {"method": NAMES[name]}
        for column, mode, names in (("strict", "strict", None), ("compat", "dror_compat", spelled),
                                    ("compat, folders' names", "dror_compat", written)):  # fmt: skip
            codes = np.stack([outcomes(run, evaluated.gold, TOP, mode, names) for run in ranked])
            row |= {f"{column} RR": rates(codes)["RR"], f"{column} category": 100 * float((codes < WR).mean())}
        rows.append(row)
    return rows


# -- is it used? ------------------------------------------------------------------------------------------------------


def _use(study: Study, name: str, evaluated: EvaluationSet) -> dict[str, Use]:
    """Of right categories, those whose first rationale is used, by the text and by the picture; NAMED and ANOTHERS.

    In the aviary the part that the rationale is about is left out of the drawing, and the same area is blurred
    elsewhere. A rationale whose part is not in view is not used. Of photographs nobody knows where a part is: there it
    is blurred where the method itself sees it (LRP), and compared with equal areas elsewhere. A region that was chosen
    for being seen beats others for that alone; what that makes is the share for another picture's rationale.
    """
    chosen = evenly(len(evaluated.data.images), TESTED)
    truth = evaluated.gold.categories[chosen]
    known = [(evaluated.known or evaluated.gold).rationales[n] for n in chosen]
    absent = absent_rationales(evaluated.words, truth.tolist(), known)
    scorer = study.scorer(evaluated.words, scoring_of(name))
    right: list[np.ndarray] = []
    texts: dict[str, list[TextSwap]] = {NAMED: [], ANOTHERS: []}
    pictures: dict[str, list[PictureChange]] = {NAMED: [], ANOTHERS: []}
    for seed in study.runs(name):
        categories, rationales = first_reasons(study.ranked(name, seed, evaluated))
        order = exchanged(categories, np.random.default_rng(seed))
        categories, tested = categories[chosen], {NAMED: rationales[chosen], ANOTHERS: rationales[order][chosen]}
        right.append(categories == truth)
        vectors = study.vectors(name, seed, evaluated.data)[chosen]
        for which, given in tested.items():
            answer = torch.as_tensor(categories), torch.as_tensor(given)
            texts[which].append(text_swap(vectors, scorer, *answer, absent))
            space = study.space(name, seed)
            if evaluated.scenes is None:
                paths = [evaluated.data.images[n].path for n in chosen]
                trials = seen_trials(space, paths, scorer.bank.rationales[answer[1]], DRAWS, chosen.tolist())
            else:
                said = [evaluated.words.rationales[r] for r in given]
                trials = (_trial(evaluated.scenes[n], phrase, int(n)) for n, phrase in zip(chosen, said, strict=True))
            pictures[which].append(picture_change(space.encode_images, trials, scorer, *answer))
    return {which: rationale_use(np.stack(right), texts[which], pictures[which]) for which in texts}


def first_reasons(ranked: Ranked) -> tuple[np.ndarray, np.ndarray]:
    """(N,) the voted category, and (N,) the best rationale that is paired with it."""
    voted = vote(ranked, TOP)
    position = (ranked.categories == voted[:, None]).argmax(1)
    return voted, ranked.rationales[np.arange(len(voted)), position]


def _trial(scene: Closeup, rationale: str, n: int) -> Trial:
    part = parts_said()[rationale]
    mask = part_map(scene) == PARTS.index(part)
    if not mask.any():
        return Trial(scene.image, scene.image, (scene.image,) * DRAWS)
    return trial(scene.image, mask, DRAWS, np.random.default_rng(n), changed=_without(scene, part))


@lru_cache(maxsize=12 * TESTED)
def _without(scene: Closeup, part: str) -> Any:
    return scene.redrawn(without=[part])


def _where(study: Study) -> list[Row]:
    """Of the first run of ECOR and DROR, and of CLIP; see ``where_rows``."""
    evaluated = study.test
    assert evaluated.scenes is not None
    assert evaluated.known is not None
    words = evaluated.words.rationales
    said = [[words[r] for r in sorted(known)] for known in evaluated.known.rationales]
    texts = dict(zip(words, study.bank(evaluated.words).rationales, strict=True))
    spaces = {NAMES[name]: study.space(name, 0) for name in ("ecor", "dror", "clip")}
    return where_rows(spaces, evaluated.scenes, said, texts)


def _use_row(name: str, which: str, use: Use) -> Row:
    assert use.text is not None
    row: Row = {"method": NAMES[name], "rationale": which, "tested": use.text.count, "chance": use.text.chance}
    row |= {"used by text": use.text.share.value, "low": use.text.share.low, "high": use.text.share.high}
    if use.picture is not None and use.both is not None:
        for what, share in (("picture", use.picture.share), ("both", use.both.share)):
            row |= {f"used by {what}": share.value, f"{what} low": share.low, f"{what} high": share.high}
        falls = use.picture.falls
        row |= {"fall of P(r)": falls["rationale"].value, "elsewhere": falls["rationale elsewhere"].value}
        row |= {"fall of P(c|r)": falls["category"].value, "elsewhere too": falls["category elsewhere"].value}
    return row


def _bottlenecks(study: Study) -> list[Row]:
    rows = []
    for name in ALL:
        space_train, space_test = (study.vectors(name, 0, data) for data in (study.train, study.test.data))
        texts = study.bank(study.test.words).rationales
        train, test = gold_of(study.train.images).categories, study.test.gold.categories
        full = vote(study.ranked(name, 0, study.test), TOP) == test
        scores = study.clip.scale * space_train @ texts.T, train, study.clip.scale * space_test @ texts.T, test
        every = bottleneck(*scores, full)
        few = bottleneck(*scores, full, best=TOP) if len(texts) > TOP else every
        rows.append({
            "method": NAMES[name], "category": every.full.value, "from all rationales": every.accuracy.value,
            **_with_interval("gap", every.gap), "from the best five": few.accuracy.value,
            "gap of five": few.gap.value, "chance": every.chance,
        })  # fmt: skip
    return rows


# -- probabilities and weights ----------------------------------------------------------------------------------------


def _calibration(study: Study) -> list[Row]:
    rows = []
    for name in MAIN:
        plain = scoring_of(name)
        validation = study.vectors(name, 0, study.validation)
        scorer = study.scorer(study.train.words, plain)
        fitted = calibrated_scoring(validation, scorer, gold_of(study.validation.images))
        summaries = {
            which: _forecasts(study.vectors(name, 0, study.test.data), study, scoring)
            for which, scoring in (("", plain), (", calibrated", fitted))
        }
        for of in ("category", "rationale", "joint"):
            row: Row = {"method": NAMES[name], "of": of, "accuracy": summaries[""][of]["accuracy"]}
            for which, summary in summaries.items():
                row |= {f"{measure_}{which}": summary[of][measure_] for measure_ in ("ECE", "Brier", "NLL")}
            rows.append(row)
    return rows


def _forecasts(images: Tensor, study: Study, scoring: Scoring) -> dict[str, dict[str, float]]:
    evaluated = study.test
    predicted = logits(images, study.scorer(evaluated.words, scoring))
    gold = evaluated.gold
    labels = {
        "category": gold.categories,
        "rationale": gold.table,
        "joint": gold.pairs(len(evaluated.words.rationales)),
    }
    return {of: forecasts(predicted[of], labels[of]).summary() for of in labels}


def _visible(study: Study) -> list[Row]:
    """What `saywhy why` says of a rationale before it is named, by the rule of ``visible_threshold``.

    Absent ones are neither true of the picture nor on its category's list.
    """
    if len(study.validation.images) < FEWEST:
        return []
    rows, lists = [], study.test.words.lists
    for name in MAIN:
        texts = study.bank(study.test.words).rationales
        held, asked = (study.vectors(name, 0, data) for data in (study.validation, study.test.data))
        usual = usual_scores(held, texts)
        standing = [standing_out(vectors, texts, usual) for vectors in (held, asked)]
        assert standing[0] is not None
        assert standing[1] is not None
        visible = visible_threshold(standing[0], gold_of(study.validation.images), lists)
        threshold = float("inf") if visible.threshold is None else visible.threshold
        true = [(n, r) for n, rationales in enumerate(study.test.gold.rationales) for r in rationales]
        known = (study.test.known or study.test.gold).rationales
        others = absent_rationales(study.test.words, study.test.gold.categories.tolist(), known)
        absent = [(n, int(r)) for n, rationales in enumerate(others) for r in rationales]
        of_true, of_absent = (standing[1][tuple(np.array(places).T)] for places in (true, absent))
        rows.append({
            "method": NAMES[name], "visible from": visible.threshold, "because": visible.basis,
            "true ones": 100 * float((of_true >= threshold).float().mean()),
            "absent ones": 100 * float((of_absent >= threshold).float().mean()),
            "true ones, at 2": 100 * float((of_true >= UNUSUAL).float().mean()),
            "absent ones, at 2": 100 * float((of_absent >= UNUSUAL).float().mean()),
        })  # fmt: skip
    return rows


def _said(study: Study) -> list[Row]:
    """The rationales that ``saywhy why`` says as facts: how many a picture, and how many of them are true.

    By the probability that they are there, or by how far they stand out; fitted on validation pictures. Beside them the
    same words said of another picture, and all rationales that are given as reasons. Of the first run of each method.
    """
    truth, rows = study.test.known, list[Row]()
    if truth is None or len(study.validation.images) < FEWEST:
        return []
    lists, texts = study.test.words.lists, study.bank(study.test.words).rationales
    held_truth = gold_of(study.validation.images)
    for name in MAIN:
        held, asked = (study.vectors(name, 0, data) for data in (study.validation, study.test.data))
        usual = usual_scores(held, texts)
        plain = study.scorer(study.test.words, scoring_of(name))
        scorer = replace(plain, scoring=calibrated_scoring(held, plain, held_truth))
        far = usual.deviations(held @ texts.T)
        known = [image.known for image in study.validation.images]
        chance = fit_reason_chance(held, scorer, far, lists, known, TOP)
        threshold = visible_threshold(far, held_truth, lists).threshold
        belief, standing = believe(asked, scorer, TOP), usual.deviations(asked @ texts.T)
        named, sure = list[tuple[int, int]](), list[tuple[bool, bool]]()
        for n, category in enumerate(belief.likeliest.tolist()):
            answer = decide(belief.ranked, n, TOP, category)
            row = reason_rows(answer, belief, n, standing[n], lists[category])
            named += [(n, int(belief.ranked.rationales[n, place])) for place in answer.reasons]
            out = np.zeros(len(row), bool) if threshold is None else (row[:, 0] >= threshold) & (row[:, 1] > 0)
            likely = np.zeros(len(row), bool) if chance is None else chance.there(row) >= chance.threshold
            sure += zip(likely.tolist(), out.tolist(), strict=True)
        other = np.random.default_rng(0).permutation(len(asked))
        right, dealt = (
            np.array([r in truth.rationales[of[n]] for n, r in named]) for of in (range(len(asked)), other.tolist())
        )
        picture = np.array([n for n, _ in named])
        for way, said in zip(("probability", "standing out, listed"), np.array(sure).T, strict=True):
            of_each = [np.bincount(picture[said], which[said], len(asked)) for which in (right, np.ones_like(right))]
            drawn = bootstrap(np.array(of_each)[:, None])
            drawn = drawn[drawn[:, 1] > 0]
            row_of: Row = {"method": NAMES[name], "said by": way, "said": float(said.sum() / len(asked))}
            if said.any():
                row_of |= _with_interval("true", interval_of(100 * right[said].mean(), 100 * drawn[:, 0] / drawn[:, 1]))
                row_of["another picture's"] = 100 * float(dealt[said].mean())
            row_of["pictures with one"] = 100 * float((of_each[1] > 0).mean())
            rows.append(row_of | {"all reasons": len(named) / len(asked), "all true": 100 * float(right.mean())})
    return rows


def _decided(study: Study) -> list[Row]:
    """Both ways to decide in ``saywhy why``, on the pictures that choose between them (validation) and on the others.

    RR: the category is right, and one of its reasons is the right rationale.
    """
    rows = []
    choosing = EvaluationSet.of("validation", study.validation)
    for evaluated in (choosing, *_asked(study)):
        truth = evaluated.gold
        for name in MAIN:
            right: dict[str, list[list[bool]]] = {"vote": [], "likeliest": []}
            doubly: dict[str, list[list[bool]]] = {"vote": [], "likeliest": []}
            differ = []
            for seed in study.runs(name):
                vectors = study.vectors(name, seed, evaluated.data)
                scorer = study.scorer(evaluated.words, scoring_of(name))
                ranked = study.ranked(name, seed, evaluated)
                likeliest = probabilities(vectors, scorer, ranked).categories.argmax(1).numpy()
                ranked = rank_with(vectors, scorer, ranked, likeliest)
                k = min(TOP, ranked.categories.shape[1])
                answers = {
                    "vote": [decide(ranked, n, k) for n in range(len(likeliest))],
                    "likeliest": [decide(ranked, n, k, int(c)) for n, c in enumerate(likeliest)],
                }
                for way, given in answers.items():
                    hit = [answer.category == c for answer, c in zip(given, truth.categories, strict=True)]
                    named = [{int(r) for r in ranked.rationales[n, list(a.reasons)]} for n, a in enumerate(given)]
                    seen = [bool(some & true) for some, true in zip(named, truth.rationales, strict=True)]
                    right[way].append(hit)
                    doubly[way].append([one and other for one, other in zip(hit, seen, strict=True)])
                differ.append(np.mean([answer.category != answer.voted for answer in answers["likeliest"]]))
            percent = {way: 100 * np.array(found, float) for way, found in right.items()}
            rows.append(
                {"pictures": evaluated.name, "method": NAMES[name], "differ": 100 * float(np.mean(differ))}
                | _with_interval("vote", interval(percent["vote"]))
                | _with_interval("likeliest", interval(percent["likeliest"]))
                | _with_interval("gain", difference(percent["likeliest"], percent["vote"]))
                | {f"RR, {way}": 100 * float(np.mean(found)) for way, found in doubly.items()}
            )
    return rows


def _sweep(study: Study) -> list[Row]:
    """ECOR's prompts scored with other weights: 0 is the rationale alone, a large one what DROR scores."""
    rows = []
    truth = gold_of(study.validation.images)
    seeds = study.runs("ecor")
    for conditional in ("all", "category"):
        for weight in WEIGHTS:
            scoring = Scoring(("rationale", "pair"), conditional, weight)
            held = [
                study.rank(study.vectors("ecor", seed, study.validation), study.train.words, scoring) for seed in seeds
            ]
            ranked = [study.ranked("ecor", seed, study.test, scoring) for seed in seeds]
            codes = np.stack([outcomes(run, study.test.gold, TOP) for run in ranked])
            rows.append({
                "weight": weight, "conditional": conditional,
                "validation RR": rates(np.stack([outcomes(run, truth, TOP) for run in held]))["RR"],
                "RR": rates(codes)["RR"], "category": 100 * float((codes < WR).mean()),
            })  # fmt: skip
    return rows
