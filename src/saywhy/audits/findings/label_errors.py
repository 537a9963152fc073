"""Label errors: pictures of which the model is surer that they are another class than it usually is of that class.

Confident learning (Northcutt, Jiang and Chuang 2021), as cleanlab's filter "confident_learning" has it, in SQL over all
rows: it needs the likeliest classes of a picture, and not a matrix of all. Three things are added, which count where
classes have few pictures, or the classifier has many that the data have not: the threshold of a class is drawn towards
that of all, the label itself has to be far less likely, and where most classes have no picture, the choice is among the
others. ``saywhy bench audit-labels`` holds it against cleanlab.
"""

from __future__ import annotations

from typing import Any

from saywhy.answers.plain_names import plain_name
from saywhy.audits.finding import AuditFinding, Tested
from saywhy.audits.store import View
from saywhy.classifiers.outputs import MULTI
from saywhy.intervals import proportion

PRIOR = 10  # pictures of a class that weigh as much as those of all classes in its threshold
RATIO = 50  # how many times likelier than the label the other class has to be
COVERED = 0.5  # of the classifier's classes have pictures: then one that has none may be suggested too
TRUSTED = 0.9  # of the labels on which the model agrees: below, what it is sure of is told with a warning
LISTED = 200  # errors in the details
SHOWN = 24

_LABELLED = "true_class IS NOT NULL AND true_probability IS NOT NULL"
_ALL = f"""
known AS (
  SELECT number, file, truth, true_class, predicted, probability, true_probability AS own FROM pictures
  WHERE {_LABELLED}
)"""
"""Where most classes have pictures: what is predicted, and how probable that and the label are."""
_AMONG = f"""
here AS (
  SELECT number, file, truth, true_class, true_probability AS own, classes, probabilities FROM pictures
  WHERE {_LABELLED}
), present AS (
  SELECT DISTINCT true_class AS class FROM here
), best AS (
  SELECT number, arg_max(class, p) AS predicted, max(p) AS probability, sum(p) AS total
  FROM (SELECT number, unnest(classes) AS class, unnest(probabilities) AS p FROM here) JOIN present USING (class)
  GROUP BY number
), known AS (
  SELECT number, file, truth, true_class, predicted, probability / mass AS probability, own / mass AS own FROM (
    SELECT *, greatest(total + CASE WHEN list_contains(classes, true_class) THEN 0 ELSE own END, 1e-9) AS mass
    FROM here JOIN best USING (number)
  )
)"""
"""Where few have: the same among the classes that have pictures, as if the classifier knew no others."""
_SURE = f"""
, usual AS (
  SELECT avg(own) AS mean FROM known
), thresholds AS (
  SELECT true_class AS class, (sum(own) + {PRIOR} * any_value(mean)) / (count(*) + {PRIOR}) AS least
  FROM known CROSS JOIN usual GROUP BY true_class
), suspects AS (
  SELECT known.* FROM known CROSS JOIN usual LEFT JOIN thresholds ON predicted = class
  WHERE predicted <> true_class AND probability >= coalesce(least, mean) AND probability >= {RATIO} * own
)
"""
_COUNTS = f"""
SELECT count(*) AS labels, count(DISTINCT true_class) AS classes, avg((predicted = true_class)::INT) AS accuracy
FROM pictures WHERE {_LABELLED}
"""
_SUSPECTS = f"""
SELECT number, file, truth AS given, predicted AS suggested, probability, own AS given_probability
FROM suspects ORDER BY probability - own DESC, number LIMIT {LISTED}
"""
_PAIRS = """
SELECT truth AS given, predicted AS suggested, count(*) AS pictures FROM suspects
GROUP BY truth, predicted HAVING count(*) > 1 ORDER BY pictures DESC, given, suggested LIMIT 20
"""


def find(view: View) -> Tested:
    """At most one finding: how many labels look wrong, the surest first, each with what it looks like.

    It has no p-value: it is a list to look through, and the mistakes of a sure model are in it too.
    """
    model = view.manifest["model"]
    if model["task"] == MULTI:
        return Tested(note="label errors are looked for where a picture has one class, and this model says several")
    names = model["labels"]
    counts = view.sql(_COUNTS).to_pylist()[0]
    labels = counts["labels"]
    if not labels:
        return Tested(note="label errors could not be looked for: no picture has one label that the model knows")
    start = f"WITH {_ALL if counts['classes'] >= COVERED * len(names) else _AMONG} {_SURE}"
    found = view.sql(f"{start} SELECT count(*) AS n FROM suspects")["n"][0].as_py()
    note = (
        f"{labels} labels were held against the model's probabilities; a model that was trained on these labels agrees "
        "with their errors, and fewer are found"
    )
    if not found:
        return Tested(note=note)
    suspects, pairs = (
        [one | {"suggested": names[one["suggested"]]} for one in view.sql(f"{start} {query}").to_pylist()]
        for query in (_SUSPECTS, _PAIRS)
    )
    share, first, right = proportion(found, labels), suspects[0], float(counts["accuracy"])
    sentence = (
        f"In {found} of {labels} pictures ({share.value:.1%}, {share.low:.1%} to {share.high:.1%}) the model is sure "
        f"of another class than the label: look whether the label is wrong, or the model. Of all labels it agrees with "
        f"{right:.0%}{'' if right >= TRUSTED else ', so that many of these may be its own errors'}. Look first at "
        f"“{plain_name(first['file'])}”: labelled “{first['given']}”, looks like “{first['suggested']}” to the model."
    )
    shown = suspects[:SHOWN]
    finding = AuditFinding(
        "label errors",
        tuple(dict.fromkeys(one["given"] for one in shown)),
        sentence,
        decides=False,
        effect=share,
        unit="of pictures of which the model is sure of another class than the label",
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
