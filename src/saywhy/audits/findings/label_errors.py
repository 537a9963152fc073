"""Label errors: pictures of which the model is surer that they are another class than it usually is of that class.

Confident learning (Northcutt, Jiang and Chuang 2021), as cleanlab's filter "confident_learning" has it, in SQL over all
rows: it needs two probabilities of a picture, and not a matrix of all classes. Two things are added, which count where
classes have few pictures: the threshold of a class is drawn towards that of all, and the label itself has to be far
less likely. ``saywhy bench audit-labels`` holds it against cleanlab.
"""

from __future__ import annotations

from typing import Any

from saywhy.audits.finding import AuditFinding, Tested
from saywhy.audits.store import View
from saywhy.classifiers.outputs import MULTI
from saywhy.intervals import proportion

PRIOR = 10  # pictures of a class that weigh as much as those of all classes in its threshold
RATIO = 50  # how many times likelier than the label the other class has to be
COVERED = 0.5  # of the classifier's classes have pictures: then a class that has none may be suggested too
LISTED = 200  # errors in the details
SHOWN = 24

_KNOWN = f"""
WITH known AS (
  SELECT number, file, truth, prediction, true_class, predicted, probability, true_probability AS own
  FROM pictures WHERE true_class IS NOT NULL AND true_probability IS NOT NULL
), usual AS (
  SELECT avg(own) AS mean, count(DISTINCT true_class) AS classes FROM known
), thresholds AS (
  SELECT true_class AS class, (sum(own) + {PRIOR} * any_value(mean)) / (count(*) + {PRIOR}) AS least
  FROM known CROSS JOIN usual GROUP BY true_class
), sure AS (
  SELECT known.*, predicted <> true_class AND probability >= {RATIO} * own AS suspect
  FROM known CROSS JOIN usual LEFT JOIN thresholds ON predicted = class
  WHERE probability >= coalesce(least, CASE WHEN classes >= $1 THEN mean ELSE 2 END)
)
"""
_COUNTS = f"{_KNOWN} SELECT (SELECT count(*) FROM known) AS labels, count(*) FILTER (suspect) AS found FROM sure"
_SUSPECTS = f"""{_KNOWN}
SELECT number, file, truth AS given, prediction AS suggested, probability, own AS given_probability
FROM sure WHERE suspect ORDER BY probability - own DESC, number LIMIT {LISTED}
"""
_PAIRS = f"""{_KNOWN}
SELECT truth AS given, prediction AS suggested, count(*) AS pictures FROM sure WHERE suspect
GROUP BY truth, prediction HAVING count(*) > 1 ORDER BY pictures DESC, given, suggested LIMIT 20
"""


def find(view: View) -> Tested:
    """At most one finding: how many labels look wrong, the likeliest errors first, each with what it looks like.

    It has no p-value: it is a list to look through, and the mistakes of a sure model are in it too.
    """
    model = view.manifest["model"]
    if model["task"] == MULTI:
        return Tested(note="label errors are looked for where a picture has one class, and this model says several")
    covered = [COVERED * len(model["labels"])]
    counts = view.sql(_COUNTS, covered).to_pylist()[0]
    labels, found = counts["labels"], counts["found"]
    if not labels:
        return Tested(note="label errors could not be looked for: no picture has one label that the model knows")
    note = (
        f"{labels} labels were held against the model's probabilities; a model that was trained on these labels agrees "
        "with their errors, and fewer are found"
    )
    if not found:
        return Tested(note=note)
    suspects = view.sql(_SUSPECTS, covered).to_pylist()
    pairs = view.sql(_PAIRS, covered).to_pylist()
    share, first = proportion(found, labels), suspects[0]
    sentence = (
        f"{found} of {labels} labels ({share.value:.1%}, {share.low:.1%} to {share.high:.1%}) may be wrong: there the "
        f"model is sure of another class. The likeliest: “{first['file']}”, labelled “{first['given']}”, looks like "
        f"“{first['suggested']}”."
    )
    shown = suspects[:SHOWN]
    finding = AuditFinding(
        "label errors",
        tuple(dict.fromkeys(one["given"] for one in shown)),
        sentence,
        decides=False,
        effect=share,
        unit="of labels may be wrong",
        examples=tuple(one["number"] for one in shown),
        counters=_well_labelled(view, shown),
        details={"labels": labels, "found": found, "likeliest": suspects, "pairs": pairs},
    )
    return Tested([finding], note=note)


def _well_labelled(view: View, suspects: list[dict[str, Any]]) -> tuple[int, ...]:
    """Of each given label the picture that fits it best."""
    given = list(dict.fromkeys(one["given"] for one in suspects))
    query = """
        SELECT arg_max(number, true_probability) AS number FROM pictures
        WHERE truth IN (SELECT unnest($1)) AND correct GROUP BY truth ORDER BY max(true_probability) DESC, number
    """
    return tuple(view.sql(query, [given])["number"].to_pylist())
