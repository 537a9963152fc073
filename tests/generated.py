"""The parts of README and docs that repeat the code: written from the code, between two marks.

    <!-- generated: NAME -->
    ...
    <!-- end -->

``python -m tests.generated`` names the pages that are stale (exit code 1), ``--write`` writes them again.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from tests import formats
from tests.pages import PAGES, ROOT, python_of
from tests.tables import table

REGION = re.compile(r"(<!-- generated: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def named(what: str, rows: dict[str, str], says: str = "") -> str:
    return table((what, says), ((f"`{name}`", text) for name, text in rows.items()))


def models() -> str:
    from saywhy.cli.doctor import model_sources

    return named("`--model`", {name.replace(" or ", "`, `"): text for name, text in model_sources().items()})


def spaces() -> str:
    from saywhy.questions.names_and_defaults import SPACES

    return named("`--space`", SPACES, "whose opinion the words are")


def methods() -> str:
    from saywhy.attribution import METHODS

    return named("`--method`", METHODS)


def composites() -> str:
    from saywhy.attribution.composites import COMPOSITES, DEFAULT_COMPOSITE

    def rule(value: object) -> str:
        return "as its kind" if value is None else "z^B" if value == "box" else f"`{value}`"

    softmax = {"attnlrp": "first-order Taylor (AttnLRP)", "cp": "held constant (CP-LRP)"}
    rows = (
        (f"`{name}`", rule(one.convolution), rule(one.dense), rule(one.first), softmax[one.attention], one.gate)
        for name, one in COMPOSITES.items()
    )
    head = (
        "`--composite`",
        "convolutions",
        "dense layers",
        "first layer",
        "attention's softmax",
        "relevance of a gate to",
    )
    attends, plain = DEFAULT_COMPOSITE["attention"], DEFAULT_COMPOSITE["convolution"]
    default = f"Where none is named: `{attends}` for networks with attention, `{plain}` for others."
    return f"{table(head, rows)}\n\n{default}"


def vocabularies() -> str:
    from saywhy.questions.names_and_defaults import VOCABULARIES

    return named("`--vocabulary`", VOCABULARIES)


def writers() -> str:
    from saywhy.questions.narrate import METHODS

    return named("way to write", METHODS)


def findings() -> str:
    from saywhy.audits.kinds import KINDS

    rows = ((f"`{name}`", kind.title, "decides" if kind.trials else "goes with") for name, kind in KINDS.items())
    return table(("kind", "heading on the page", "what it may say"), rows)


def exports() -> str:
    from saywhy.audits.exports import EXPORTS
    from saywhy.plumbing.extras import EXTRAS

    rows = (
        (f"`{name}`", f"`saywhy[{EXTRAS[one.needs]}]`" if one.needs else "nothing more")
        for name, one in EXPORTS.items()
    )
    return table(("`--to`", "needs"), rows)


def photographs() -> str:
    from saywhy.pictures.photos import PHOTOS

    return named("photograph", {f"photos:{name}": f"{one.shows} ({one.credit})" for name, one in PHOTOS.items()})


def world_models() -> str:
    """The models of the embedded worlds, as the cards beside their weights have them."""
    from saywhy.worlds import WEIGHTS

    def row(card: Path) -> tuple[str, str, str]:
        (weights,) = card.parent.glob("*.safetensors")
        measured = re.findall(r"^\| (?!measured)([^|]+) \| ([^|]+) \|$", card.read_text(encoding="utf-8"), re.MULTILINE)
        figures = "; ".join(f"{what} {value}" for what, value in measured)
        return card.parent.relative_to(WEIGHTS).as_posix(), f"{weights.stat().st_size / 1e6:.1f}", figures

    return table(("model", "MB", "measured on held-out data"), map(row, sorted(WEIGHTS.glob("*/*/MODEL_CARD.md"))))


def benchmarks() -> str:
    from saywhy.bench import BENCHMARKS, options_of

    def options(name: str) -> str:
        return ", ".join(f"`--{one.name.replace('_', '-')}`" for one in options_of(name)) or "none"

    rows = ((f"`{name}`", what, options(name)) for name, (_, what) in BENCHMARKS.items())
    return table(("`saywhy bench`", "what it measures", "options beside `--limit` and `--out`"), rows)


def extras() -> str:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    rows = ((f"`saywhy[{name}]`", ", ".join(needs)) for name, needs in project["optional-dependencies"].items())
    return table(("extra", "what it installs"), rows)


def exit_codes() -> str:
    from saywhy.cli.audited import KEPT_OUT
    from saywhy.cli.console import OK, SOME_FAILED, USAGE
    from saywhy.cli.stopping import Stopped, exit_code

    rows = {
        OK: "all is done",
        SOME_FAILED: "some pictures failed, each named with its reason, and the others are done; `ask`: no match",
        USAGE: "a wrong name or option, no picture at all, no memory or disk left: one line says which",
        KEPT_OUT: "`saywhy check`: a rule is broken",
        exit_code(KeyboardInterrupt()): "Ctrl-C: what was done is kept, and on the page; a second one ends it at once",
        exit_code(BrokenPipeError()): "nobody reads the output (`| head`): no word; what was done is on the page",
        exit_code(Stopped(15)): "SIGTERM: as Ctrl-C",
    }  # fmt: skip
    return table(("exit code", ""), ((f"{code}", text) for code, text in rows.items()))


ENVIRONMENT = {
    "SAYWHY_CACHE": "folder for embeddings, features and banks, in place of the user's cache folder; may be deleted",
    "SAYWHY_PACK": "folder of real models and photographs that some benchmarks need; by default `../shared/pack`",
    "HF_HOME": "where weights of the Hugging Face hub are kept (theirs)",
    "HF_HUB_OFFLINE": "1: never ask a hub, take what is in its cache (theirs)",
    "TORCH_HOME": "where torchvision's weights are kept (theirs)",
    "WANDB_MODE": "`saywhy export --to wandb`: by default `offline` (theirs)",
    "WANDB_PROJECT": "`saywhy export --to wandb`: by default `saywhy` (theirs)",
    "GITHUB_STEP_SUMMARY": "`saywhy check --format github`: the file that the summary is added to (GitHub sets it)",
    "OMP_NUM_THREADS": "threads of a process on a CPU (PyTorch's)",
}
"""Environment variables -> what they do. A test compares them with those that the sources read."""


def environment() -> str:
    return named("variable", ENVIRONMENT)


def program() -> Any:
    """The command line, as Click has it."""
    import typer.main

    from saywhy.cli.app import app

    return typer.main.get_command(app)


def commands() -> str:
    """Every command with its arguments, options and examples."""
    root = program()
    parts = [_options(root)]
    for name, command in root.commands.items():
        parts += _command(f"saywhy {name}", command)
    return "\n\n".join(filter(None, parts))


def _command(name: str, command: Any) -> Iterator[str]:
    inner: dict[str, Any] = getattr(command, "commands", {})
    yield f"{'####' if name.count(' ') > 1 else '###'} {name}"
    yield (command.help or "").replace("{", "\\{").replace("*", "\\*").strip()
    if name == "saywhy bench":
        yield benchmarks()
    elif not inner:
        yield _options(command)
    if epilog := getattr(command, "epilog", None):
        yield "\n".join(["```console", *epilog.split("\n\n")[1:], "```"])
    for below, one in inner.items():
        yield from _command(f"{name} {below}", one)


def _options(command: Any) -> str:
    rows = [_option(one) for one in command.params if not getattr(one, "hidden", False)]
    return table(("option", "takes", "by default", ""), rows) if rows else ""


def _option(one: Any) -> tuple[str, str, str, str]:
    argument, flag = one.param_type_name == "argument", getattr(one, "is_flag", False)
    if argument:
        name, kind = f"`{one.metavar or one.name.upper()}`", "several" if one.nargs == -1 else ""
    else:
        name = ", ".join(f"`{option}`" for option in sorted([*one.opts, *one.secondary_opts], key=len, reverse=True))
        kind = "" if flag else _kind(one)
    default = one.default
    if flag:
        default = f"`{one.opts[0]}`" if default is True and one.secondary_opts else ""
    elif default in (None, ()) or callable(default):
        default = ""
    else:
        default = f"`{default}`"
    return name, kind, "required" if one.required else default, (one.help or "").replace("*", "\\*")


def _kind(one: Any) -> str:
    described = getattr(one, "type_descriptor", None)  # Typer from 0.26 on; before, Click's own type
    hint = described.annotation if described else None
    kind = getattr((get_args(hint) or (hint,))[0], "__name__", "") if described else one.type.name.partition(" ")[0]
    kind = {"str": "text", "int": "integer", "float": "number", "Path": "path"}.get(kind, kind)
    bounds = one if described else one.type
    for word, value in (("from", getattr(bounds, "min", None)), ("to", getattr(bounds, "max", None))):
        kind += f" {word} {value}" if value is not None else ""
    return f"{kind}, repeatable" if one.multiple else kind


def imported() -> str:
    """What the pages' Python imports from modules of the package, beside ``saywhy`` itself: mkdocstrings' blocks."""
    import ast

    found = {
        f"{node.module}.{alias.name}"
        for page in PAGES
        for block in python_of(page)
        for node in ast.walk(ast.parse(block.text))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("saywhy.")
        for alias in node.names
    }
    return "\n\n".join(f"::: {name}" for name in sorted(found))


def public() -> str:
    """The names of ``saywhy`` itself: mkdocstrings' blocks, functions first."""
    import saywhy

    names = sorted(saywhy._PUBLIC, key=lambda name: (name[0].isupper(), name.lower()))
    return "\n\n".join(_shown_as(f"saywhy.{saywhy._PUBLIC[name]}.{name}", f"saywhy.{name}") for name in names)


def _shown_as(path: str, name: str) -> str:
    """mkdocstrings' block of what lies at a path, under the name that a user imports."""
    return f"::: {path}\n    options:\n      heading: {name}\n      toc_label: {name.rpartition('.')[2]}"


TABLES: dict[str, Callable[[], str]] = {
    "models": models, "spaces": spaces, "methods": methods, "composites": composites, "vocabularies": vocabularies,
    "writers": writers, "findings": findings, "exports": exports,
    "photographs": photographs, "world-models": world_models, "benchmarks": benchmarks, "extras": extras,
    "exit-codes": exit_codes,
    "environment": environment, "commands": commands, "api": public,
    "format-versions": formats.versions, "format-explanation": formats.explanation,
    "format-records": formats.records, "format-why": formats.why, "format-answers": formats.answers,
    "format-tables": formats.answer_tables, "format-audit": formats.audit_tables,
    "format-findings": formats.audit_findings, "format-probes": formats.probes,
    "format-calibration": formats.calibration,
    "api-of-pages": imported,
}  # fmt: skip
"""Name of a region -> what stands in it."""


def written(text: str) -> str:
    """A page with its regions as they are to be. Raises KeyError for a region of a name that is not in TABLES."""
    return REGION.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[4]}", text)


def main(write: bool) -> int:
    stale = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if (new := written(text)) != text:
            stale.append(page.relative_to(ROOT))
            if write:
                page.write_text(new, encoding="utf-8")
    for page in stale:
        print(f"{page} {'is written' if write else 'is stale: python -m tests.generated --write'}")
    return 1 if stale and not write else 0


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv[1:]))
