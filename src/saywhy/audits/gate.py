"""The gate of an audit: rules that a model must keep, for continuous integration.

Intervals decide. A rule that limits a number is broken where the whole interval lies past the limit, so that a build
does not fail by chance; where a rule looks at several classes, their intervals are widened so that together they hold
95 % (Bonferroni). With ``strict`` the numbers themselves decide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

from saywhy.audits.compare import Comparison, compare
from saywhy.audits.kinds import KINDS
from saywhy.audits.overview import OF_CLASS
from saywhy.audits.told import Told
from saywhy.errors import SaywhyError
from saywhy.intervals import LEVEL, Interval, mean_interval, proportion, proportions_differ
from saywhy.plumbing.names import shown, unknown
from saywhy.plumbing.texts import read_toml
from saywhy.types import BORNE_OUT

HOLDS, BROKEN, NOT_TESTABLE = "holds", "broken", "not testable"
PASS, FAIL = "pass", "fail"
NAMED = 20  # reasons of a rule, at most


@final
@dataclass(frozen=True)
class Judged:
    """What became of a rule. reasons: why it is broken, or cannot be tested; of one that holds, how far it is from it.

    notes: what could not be tested of a rule that could be: classes with too few pictures.
    """

    rule: str
    state: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()


@final
@dataclass(frozen=True, eq=False)
class Rules:
    """What a file of rules says. rules: name -> option -> value, with what is usual where it says nothing.

    strict: whether numbers decide, not their intervals. not_testable: whether a rule that cannot be tested is PASS or
    FAIL.
    """

    rules: Mapping[str, Mapping[str, Any]]
    strict: bool = False
    not_testable: str = PASS

    def fails(self, judged: Sequence[Judged]) -> bool:
        """Whether the model is kept out."""
        states = {one.state for one in judged}
        return BROKEN in states or (NOT_TESTABLE in states and self.not_testable == FAIL)


@final
@dataclass(frozen=True, eq=False)
class Asked:
    """What a rule is judged by: the audit, what changed since another one, the rule's options."""

    now: Told
    comparison: Comparison | None
    options: Mapping[str, Any]
    strict: bool

    def over(self, found: Interval, limit: float) -> bool:
        return (found.value if self.strict else found.low) > limit

    def under(self, found: Interval, limit: float) -> bool:
        return (found.value if self.strict else found.high) < limit


@final
@dataclass(frozen=True)
class Answer:
    """broken: why it is. holds: what is said where it is not. missing: why it could not be tested at all, or "".

    notes: what could not be tested of it.
    """

    broken: Sequence[str] = ()
    holds: str = ""
    missing: str = ""
    notes: Sequence[str] = ()


@final
class Rule(NamedTuple):
    """judge: answers. main: the option that a plain value stands for. options: what is usual; None: must be given."""

    judge: Callable[[Asked], Answer]
    main: str
    options: Mapping[str, Any]


def read_rules(path: str | Path) -> Rules:
    """The rules of a TOML file. Raises SaywhyError for what is no rule, and for options that are missing or wrong."""
    return rules_of(read_toml(path), shown(path))


def rules_of(document: Mapping[str, Any], where: str) -> Rules:
    """The rules of a document; ``where`` begins messages. Raises SaywhyError as ``read_rules``."""
    known = [*RULES, "strict", "not_testable"]
    rules = dict[str, Mapping[str, Any]]()
    for name, value in document.items():
        if name not in known:
            raise SaywhyError(f"{where}: {unknown('rule', name, known)}")
        if name in RULES:
            rules[name] = _options(name, value, where)
    strict, missing = document.get("strict", False), document.get("not_testable", PASS)
    if not isinstance(strict, bool):
        raise SaywhyError(f"{where}: strict must be true or false")
    if missing not in (PASS, FAIL):
        raise SaywhyError(f'{where}: not_testable must be "{PASS}" or "{FAIL}"')
    if not rules:
        raise SaywhyError(f"{where}: holds no rule; there are {', '.join(RULES)}")
    return Rules(rules, strict, missing)


def judge(now: Told, rules: Rules, old: Told | None = None) -> list[Judged]:
    """What becomes of each rule, in the order of RULES.

    old: an older audit. Raises SaywhyError where a rule needs one and there is none, and for names in rules that the
    audit does not know (kinds of findings).
    """
    comparison = None if old is None else compare(old, now)
    judged = []
    for name, rule in RULES.items():
        if name not in rules.rules:
            continue
        answer = rule.judge(Asked(now, comparison, rules.rules[name], rules.strict))
        notes = tuple(answer.notes)
        if answer.broken:
            judged.append(Judged(name, BROKEN, _first(answer.broken), notes))
        elif answer.missing:
            judged.append(Judged(name, NOT_TESTABLE, (answer.missing,), notes))
        else:
            judged.append(Judged(name, HOLDS, (answer.holds,), notes))
    return judged


def _first(reasons: Sequence[str]) -> tuple[str, ...]:
    left = len(reasons) - NAMED
    return (*reasons[:NAMED], *([f"and {left} more"] if left > 0 else []))


def _options(name: str, value: Any, where: str) -> Mapping[str, Any]:
    rule = RULES[name]
    given = value if isinstance(value, Mapping) else {rule.main: value}
    for option in given:
        if option not in rule.options:
            raise SaywhyError(f"{where}: {name}: {unknown('option', option, rule.options)}")
    options = {**rule.options, **given}
    for option, found in options.items():
        if option not in given and option == rule.main and rule.options[option] is None:
            raise SaywhyError(f"{where}: {name}: must say {option}")
        options[option] = _checked(found, _KINDS[option], f"{where}: {name}.{option}")
    return options


def _checked(value: Any, kind: str, where: str) -> Any:
    if kind == "texts":
        if isinstance(value, list | tuple) and all(isinstance(one, str) and one.strip() for one in value):
            return [one.strip() for one in value]
        raise SaywhyError(f"{where}: must be a list of texts")
    if kind == "share":
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            return float(value)
        raise SaywhyError(f"{where}: must be a share from 0 to 1; it is {shown(repr(value), 60)}")
    if kind == "count":
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            return value
        raise SaywhyError(f"{where}: must be a whole number from 1; it is {shown(repr(value), 60)}")
    if kind == "among" and value not in ("used", "seen"):
        raise SaywhyError(f'{where}: must be "used" or "seen"; it is {shown(repr(value), 60)}')
    if not isinstance(value, str) or not value:
        raise SaywhyError(f"{where}: must be a text")
    return value


def _max_background(asked: Asked) -> Answer:
    limit, least = asked.options["limit"], asked.options["min_pictures"]
    classes = [one for one in asked.now.overview.classes.values() if one.name not in asked.options["exempt"]]
    tried = [one for one in classes if one.objects >= max(2, least)]
    if not tried:
        return Answer(missing=f"no class has {least} pictures with an object that stands out")
    level = _together(len(tried))
    off = {
        one.name: Interval(1 - one.on_object.value, 1 - found.high, 1 - found.low)
        for one in tried
        for found in [mean_interval(one.on_object.value, one.object_deviation, one.objects, level)]
    }
    broken = [
        f"{shown(name, 120)} has {_said(found)} of its relevance off the object, more than {limit:.2f}"
        for name, found in sorted(off.items(), key=lambda pair: -pair[1].value)
        if asked.over(found, limit)
    ]
    name, most = max(off.items(), key=lambda pair: pair[1].value)
    return Answer(
        broken, f"at most {_said(most)} of relevance is off the object ({shown(name, 80)}); the limit is {limit:.2f}",
        notes=_few([one.name for one in classes if one.objects < max(2, least)], least, "pictures with an object"),
    )  # fmt: skip


def _deny_words(asked: Asked) -> Answer:
    words, among, limit = asked.options["words"], asked.options["among"], asked.options["share"]
    view, findings = asked.now.view, asked.now.findings
    broken = []
    for finding in findings:
        hits, tested = finding.verified or (0, 0)
        if not (finding.decides or 2 * hits > tested):
            continue
        denied = [word for word in finding.words if _names(words, word)]
        if denied:
            why = "decides" if finding.decides else f"is borne out in {hits} of {tested} examples"
            broken.append(f"{_quoted(denied)} {why}: {shown(finding.sentence, 300)}")
    tables = [("bears the decision", _BORNE_OUT, [BORNE_OUT])]
    tables += [("is said", _SAID, [])] if among == "seen" else []
    tested = 0
    for what, query, parameters in tables:
        rows = view.sql(query, parameters).to_pylist()
        tested += sum(row["tested"] for row in rows if row["text"] is None)
        sizes = {row["class"]: row["tested"] for row in rows if row["text"] is None}
        found = [row for row in rows if row["text"] is not None and _names(words, row["text"])]
        level = _together(len(sizes) * len(words))
        for row in found:
            share = proportion(row["hits"], sizes[row["class"]], level)
            if asked.over(share, limit):
                broken.append(
                    f"{_quoted([row['text']])} {what} in {row['hits']} of {sizes[row['class']]} pictures of "
                    f"{shown(row['class'], 120)}: {_said(share)}, more than {limit:.2f}"
                )
    tried = [name for name, one in asked.now.tests.items() if name in KINDS and KINDS[name].trials and one["tests"]]
    if not tested and not tried:
        return Answer(broken, missing="no claim of this audit was put to the test; run it with checks")
    return Answer(broken, f"none of {len(words)} denied words is among the claims that are {among}")


_BORNE_OUT = f"""
    WITH claims AS (SELECT DISTINCT number, text, verdict = ? AS hit FROM checks WHERE text IS NOT NULL),
    tested AS (SELECT class, count(DISTINCT number) AS tested FROM claims JOIN {OF_CLASS} USING (number) GROUP BY class)
    SELECT class, NULL AS text, 0 AS hits, tested FROM tested UNION ALL
    SELECT class, text, count(DISTINCT number) AS hits, 0 AS tested FROM claims JOIN {OF_CLASS} USING (number)
    WHERE hit GROUP BY class, text ORDER BY hits DESC, class, text
"""
_SAID = f"""
    WITH said AS (SELECT class, number, unnest(words) AS text FROM {OF_CLASS})
    SELECT class, NULL AS text, 0 AS hits, count(*) AS tested FROM {OF_CLASS} GROUP BY class UNION ALL
    SELECT class, text, count(DISTINCT number) AS hits, 0 AS tested FROM said GROUP BY class, text
    ORDER BY hits DESC, class, text
"""


def _worst_group_within(asked: Asked) -> Answer:
    limit, least, column = asked.options["limit"], asked.options["min_pictures"], asked.options["by"]
    everything = asked.now.overview.all
    if not everything.labelled:
        return Answer(missing="the true classes of its pictures are not known")
    if column == "class":
        groups = {one.name: (one.right, one.labelled) for one in asked.now.overview.classes.values() if one.labelled}
    else:
        rows = asked.now.view.sql(
            "SELECT metadata[$1] AS name, sum(correct::int) AS right, count(*) AS labelled FROM pictures "
            "WHERE correct IS NOT NULL AND metadata[$1] IS NOT NULL GROUP BY name",
            [column],
        ).to_pylist()
        groups = {row["name"]: (int(row["right"]), row["labelled"]) for row in rows}
        if not groups:
            names = asked.now.view.sql("SELECT DISTINCT unnest(map_keys(metadata)) AS name FROM pictures ORDER BY name")
            there = ", ".join(names["name"].to_pylist()[:NAMED]) or "none"
            return Answer(missing=f"no picture has the metadata {shown(column, 80)!r}; there are {shown(there)}")
    tried = {name: group for name, group in groups.items() if group[1] >= least}
    few = _few([name for name in groups if name not in tried], least, "pictures")
    if not tried:
        return Answer(missing=f"no group has {least} pictures", notes=few)
    level = _together(len(tried))
    gaps = {name: _gap(*group, everything.right, everything.labelled, level) for name, group in tried.items()}
    broken = [
        f"{shown(name, 120)} is right in {tried[name][0]} of {tried[name][1]} pictures, {_points(gap)} below all "
        f"({everything.accuracy.value:.1%}), more than {100 * limit:.1f} points"
        for name, gap in sorted(gaps.items(), key=lambda pair: -pair[1].value)
        if asked.over(gap, limit)
    ]
    name, most = max(gaps.items(), key=lambda pair: pair[1].value)
    return Answer(
        broken, f"the worst of {len(tried)} groups, {shown(name, 120)}, is {_points(most)} below all", notes=few
    )


def _gap(right: int, count: int, all_right: int, all_count: int, level: float) -> Interval:
    """How far a group's accuracy lies below that of all, which it is part of: its distance to the rest's, weighted."""
    rest = all_count - count
    if not rest:
        return Interval(0.0, 0.0, 0.0)
    found = proportions_differ(all_right - right, rest, right, count, level)
    return Interval(*(end * rest / all_count for end in (found.value, found.low, found.high)))


def _min_accuracy(asked: Asked) -> Answer:
    found, limit = asked.now.overview.all.accuracy, asked.options["limit"]
    if not asked.now.overview.all.labelled:
        return Answer(missing="the true classes of its pictures are not known")
    if asked.under(found, limit):
        return Answer([f"accuracy is {_said(found, 3)}, less than {limit:.3f}"])
    return Answer(holds=f"accuracy is {_said(found, 3)}; the limit is {limit:.3f}")


def _max_label_errors(asked: Asked) -> Answer:
    limit, name = asked.options["limit"], "label errors"
    if name not in asked.now.tests or not asked.now.overview.all.labelled:
        return Answer(missing="label errors were not looked for")
    found = next((one.effect for one in asked.now.findings if one.kind == name), None)
    if found is None:
        return Answer(holds=f"no label error was found; the limit is {limit:.3f}")
    if asked.over(found, limit):
        return Answer([f"{_said(found, 3)} of the labels may be wrong, more than {limit:.3f}"])
    return Answer(holds=f"{_said(found, 3)} of the labels may be wrong; the limit is {limit:.3f}")


def _no_new_findings(asked: Asked) -> Answer:
    if asked.comparison is None:
        raise SaywhyError("the rule no_new_findings needs an older audit; give --compare OLD_DIR")
    named = _kinds(asked)
    kinds = named or tuple(asked.now.tests)
    new = [
        one
        for one in asked.comparison.new_findings
        if one.kind in kinds and (named or one.decides or one.q is not None)
    ]
    untried = [one for one in kinds if one in asked.now.tests and one not in asked.comparison.old.tests]
    notes = [f"not looked for in the older audit: {', '.join(untried)}"] if untried else []
    return Answer(
        [f"new since {shown(asked.comparison.old.name, 120)}: {shown(one.sentence, 300)}" for one in new],
        f"no finding is new since {shown(asked.comparison.old.name, 120)}", notes=notes,
    )  # fmt: skip


def _forbid(asked: Asked) -> Answer:
    kinds = _kinds(asked)
    found = [one for one in asked.now.findings if one.kind in kinds and one.about[:1] not in _exempt(asked)]
    untried = [one for one in kinds if one not in asked.now.tests]
    if untried and not found:
        return Answer(missing=f"not looked for in this audit: {', '.join(untried)}")
    return Answer([f"{one.kind}: {shown(one.sentence, 300)}" for one in found], f"none found of {', '.join(kinds)}")


def _inside(asked: Asked) -> Answer:
    """By the findings of what the model holds inside, each of which has its name first among its words."""
    kind = "inside"
    if not asked.now.tests.get(kind, {}).get("tests"):
        return Answer(missing="what the model holds inside was not looked at in this audit")
    held = {one.words[0]: one for one in asked.now.findings if one.kind == kind and one.words}
    denied = [name for name in held if _names(asked.options["deny"], name)]
    lacking = [word for word in asked.options["require"] if not any(_names([word], name) for name in held)]
    broken = [f"{_quoted([name])} is held inside: {shown(held[name].sentence, 300)}" for name in denied]
    broken += [f"{_quoted([word])} is not held inside: no part that stands out goes with it" for word in lacking]
    return Answer(broken, f"of {len(held)} named parts none is denied, and all that is required is there")


def _names(words: Sequence[str], text: str) -> bool:
    """Whether one of the words is there as a whole, in any case."""
    return any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) for word in words)


def _exempt(asked: Asked) -> list[tuple[str, ...]]:
    return [(name,) for name in asked.options["exempt"]]


def _kinds(asked: Asked) -> tuple[str, ...]:
    """The kinds that a rule names. Raises SaywhyError for those that neither this version nor the audit knows."""
    for name in asked.options["kinds"]:
        if name not in KINDS and name not in asked.now.tests:
            raise unknown("kind of finding", name, [*KINDS, *asked.now.tests])
    return tuple(asked.options["kinds"])


def _together(count: int) -> float:
    """The level of each of so many intervals that hold 95 % together."""
    return 1 - (1 - LEVEL) / max(1, count)


def _few(names: Sequence[str], least: int, what: str) -> list[str]:
    if not names:
        return []
    some = ", ".join(shown(name, 60) for name in names[:5]) + (", ..." if len(names) > 5 else "")
    return [f"{len(names)} with fewer than {least} {what} were not tested: {some}"]


def _quoted(words: Sequence[str]) -> str:
    return ", ".join(f"“{shown(word, 80)}”" for word in words)


def _said(found: Interval, digits: int = 2) -> str:
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def _points(found: Interval) -> str:
    return f"{100 * found.value:.1f} points ({100 * found.low:.1f} to {100 * found.high:.1f})"


RULES: dict[str, Rule] = {
    "min_accuracy": Rule(_min_accuracy, "limit", {"limit": None}),
    "worst_group_within": Rule(_worst_group_within, "limit", {"limit": None, "by": "class", "min_pictures": 10}),
    "max_background": Rule(_max_background, "limit", {"limit": None, "min_pictures": 10, "exempt": ()}),
    "deny_words": Rule(_deny_words, "words", {"words": None, "among": "used", "share": 0.1}),
    "forbid": Rule(_forbid, "kinds", {"kinds": None, "exempt": ()}),
    "no_new_findings": Rule(_no_new_findings, "kinds", {"kinds": ()}),
    "inside": Rule(_inside, "deny", {"deny": (), "require": ()}),
    "max_label_errors": Rule(_max_label_errors, "limit", {"limit": None}),
}
"""Name -> rule, in the order in which they are judged."""
_KINDS = {
    "limit": "share", "share": "share", "min_pictures": "count", "by": "text", "among": "among", "words": "texts",
    "kinds": "texts", "exempt": "texts", "deny": "texts", "require": "texts",
}  # fmt: skip
