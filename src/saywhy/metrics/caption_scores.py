"""How near captions are to what people wrote: BLEU-4, METEOR, CIDEr, ROUGE-L and SPICE, as in COCO's evaluation.

The scorers are pycocoevalcap's, so that the numbers can be compared with published ones to the last digit. All of them
read tokens of Stanford's PTBTokenizer, a Java program; so all of them need Java.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path

from saywhy.errors import SaywhyError
from saywhy.plumbing.extras import need
from saywhy.plumbing.hub import reachable
from saywhy.plumbing.names import unknown

NAMES = ("B@4", "METEOR", "CIDEr", "ROUGE-L", "SPICE")
USUAL = NAMES[:4]
"""Those that need nothing but the package and Java. SPICE also needs Stanford CoreNLP, which it downloads (400 MB)."""

CORENLP = "http://nlp.stanford.edu"


class MetricWarning(UserWarning):
    """A requested metric is left out, or to be read with care; says which and why."""


def caption_metrics(
    candidates: Mapping[str, str], references: Mapping[str, Sequence[str]], names: Sequence[str] = USUAL
) -> dict[str, float]:
    """Scores of one caption a picture against the captions people wrote of it; times 100, as published.

    >>> caption_metrics({"7": "a cat on a mat"}, {"7": ["a cat on a mat", "a cat lies on a rug"]})["B@4"]
    100.0

    candidates: picture id -> caption. references: the same ids -> one or more captions.
    names:      of NAMES.

    CIDEr weighs words by how rare they are among the references given, so it is 0 for a single picture, and differs
    between a part of a test split and the whole. A metric that cannot run (SPICE without its download) is left out,
    with a MetricWarning. Raises SaywhyError where ids do not match, or Java or the package is missing.
    """
    _check_names(names)
    _check_captions(candidates, references)
    _check_java()
    ids = list(candidates)
    tokens = tokenize([candidates[i] for i in ids] + [text for i in ids for text in references[i]])
    rest = iter(tokens[len(ids) :])
    captions = {i: [caption] for i, caption in zip(ids, tokens, strict=False)}
    wanted = {i: [next(rest) for _ in references[i]] for i in ids}
    scores = {}
    for name in names:
        try:
            with redirect_stdout(sys.stderr):
                scores[name] = 100 * float(SCORERS[name](wanted, captions))
        except Exception as error:
            said = str(error) if isinstance(error, SaywhyError) else f"{type(error).__name__}: {error}"
            warnings.warn(f"{name} is left out: {said}", MetricWarning, stacklevel=2)
    return scores


def tokenize(captions: Sequence[str]) -> list[str]:
    """Each caption as COCO's evaluation reads it: lower case, Penn Treebank tokens, no punctuation, joined by a blank.

    Calls the jar that pycocoevalcap ships as its own class does, but for writing into the package's folder.
    """
    _, punctuation, jar = _package()
    text = "".join(" ".join(caption.split()) + "\n" for caption in captions)  # Java would end a line at any break
    command = [
        "java", "-Dfile.encoding=UTF-8", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer",
        "-preserveLines", "-lowerCase", "-encoding", "UTF-8",
    ]  # fmt: skip
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)
    lines = done.stdout.decode().split("\n")[:-1]
    if done.returncode or len(lines) != len(captions):
        said = (done.stderr.decode(errors="replace").strip().splitlines() or ["no message"])[0][:160]
        raise SaywhyError(f"Stanford's tokenizer read {len(lines)} of {len(captions)} captions; Java says: {said}")
    return [" ".join(word for word in line.split() if word not in punctuation) for line in lines]


def spice_is_here() -> bool:
    """Whether SPICE's parser, Stanford CoreNLP 3.6.0, was already downloaded into pycocoevalcap's folder."""
    root, _, _ = _package()
    return (root / "spice" / "lib" / "stanford-corenlp-3.6.0-models.jar").exists()


# -- one function a scorer: references and candidates by id -> score, 0 to 1 (CIDEr: 0 to 10) ------------------------

Tokens = Mapping[str, list[str]]


def _bleu4(wanted: Tokens, found: Tokens) -> float:
    from pycocoevalcap.bleu.bleu import Bleu

    return Bleu(4).compute_score(wanted, found, verbose=0)[0][3]


def _cider(wanted: Tokens, found: Tokens) -> float:
    from pycocoevalcap.cider.cider import Cider

    return Cider().compute_score(wanted, found)[0]


def _rouge(wanted: Tokens, found: Tokens) -> float:
    from pycocoevalcap.rouge.rouge import Rouge

    return Rouge().compute_score(wanted, found)[0]


def _meteor(wanted: Tokens, found: Tokens) -> float:
    from pycocoevalcap.meteor.meteor import Meteor

    scorer = Meteor()
    try:
        return scorer.compute_score(wanted, found)[0]
    except (OSError, ValueError):
        raise SaywhyError("its Java program stopped; it takes 2 GB of memory") from None
    finally:
        if scorer.lock.locked():  # left so by an error: its destructor would wait for it forever
            scorer.lock.release()


def _spice(wanted: Tokens, found: Tokens) -> float:
    if not spice_is_here() and not reachable(CORENLP):
        raise SaywhyError("it downloads Stanford CoreNLP 3.6.0 the first time, and nlp.stanford.edu cannot be reached")
    from pycocoevalcap.spice.spice import Spice

    try:
        return Spice().compute_score(wanted, found)[0]
    except subprocess.CalledProcessError:
        raise SaywhyError("its Java program stopped; it takes 8 GB of memory and was written for Java 8") from None


SCORERS = {"B@4": _bleu4, "METEOR": _meteor, "CIDEr": _cider, "ROUGE-L": _rouge, "SPICE": _spice}


# -- what can be wrong -------------------------------------------------------------------------------------------------


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if name not in SCORERS:
            raise unknown("caption metric", name, NAMES)


def _check_captions(candidates: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
    if not candidates:
        raise SaywhyError("there are no captions to score")
    for one, other, what in ((candidates, references, "no reference"), (references, candidates, "no caption")):
        missing = [i for i in one if i not in other]
        if missing:
            raise SaywhyError(
                f"{what} for {len(missing)} of {len(one)} pictures, e.g. {missing[0]!r}; captions and references must "
                "be of the same pictures"
            )
    for i, caption in candidates.items():
        texts = references[i]
        if not isinstance(caption, str) or isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise SaywhyError(f"picture {i!r}: needs one text as its caption, and a list of texts as its references")
        if not texts:
            raise SaywhyError(f"picture {i!r}: has an empty list of references")


def _check_java() -> None:
    java = shutil.which("java")
    if not java or subprocess.run([java, "-version"], capture_output=True, check=False).returncode:
        raise SaywhyError("caption metrics need Java (the command java), whose tokenizer they share; install a JRE")


def _package() -> tuple[Path, frozenset[str], Path]:
    """pycocoevalcap's folder, the tokens it drops, and the tokenizer's jar."""
    shipped = need("a caption metric", "pycocoevalcap.tokenizer.ptbtokenizer")
    folder = Path(shipped.__file__).resolve().parent
    return folder.parent, frozenset(shipped.PUNCTUATIONS), folder / shipped.STANFORD_CORENLP_3_4_1_JAR
