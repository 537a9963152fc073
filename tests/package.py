"""What is published: the wheel and the sdist hold what they should, and the installed wheel explains a picture.

``python -m tests.package dist`` (``make package``); ``--installed`` lists what is installed with saywhy, ``--audit
FILE`` asks pip-audit about such a list.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator, Sequence
from email import message_from_bytes
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement

from tests.binaries import tracked

MOST = {".whl": 70, ".gz": 90}  # MB
NEVER = re.compile(r"(^|/)(__pycache__|\.git|\.venv|\.ci|shared|why-demo)(/|$)|\.(pyc|pt|ckpt)$")


def main(words: Sequence[str]) -> int:
    """Prints what is wrong, or what is there; 1 where something is wrong."""
    if words[0] == "--installed":
        print("\n".join(f"{name}=={version}" for name, version in sorted(installed("saywhy", "demo"))))
        return 0
    if words[0] == "--audit":
        return audited(Path(words[1]))
    wheel, sdist = (next(Path(words[0]).glob(f"*{ending}")) for ending in (".whl", ".tar.gz"))
    faults = [*faults_of_wheel(wheel), *faults_of_sdist(sdist), *(too_large(file) for file in (wheel, sdist))]
    found = [fault for fault in faults if fault] or [fault for fault in (explains(wheel),) if fault]
    print("\n".join(found))
    for file in (wheel, sdist):
        print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB")
    return 1 if found else 0


def faults_of_wheel(wheel: Path) -> Iterator[str]:
    """A wheel has every tracked file of the package and nothing else, and a description whose links are absolute."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(about))
    wanted = {name.removeprefix("src/") for name in tracked() if name.startswith("src/saywhy/")}
    there = {name for name in names if ".dist-info/" not in name}
    yield from (f"{wheel.name}: lacks {name}" for name in sorted(wanted - there))
    yield from (f"{wheel.name}: has {name}, which is no file of the package" for name in sorted(there - wanted))
    if not any(name.endswith("licenses/LICENSE") for name in names):
        yield f"{wheel.name}: has no licence"
    description = str(metadata.get_payload())
    for link in re.findall(r"\]\(([^)]+)\)", description):
        if not link.startswith("https://"):
            yield f"{wheel.name}: its description links to {link}, which is not absolute"
    for address in metadata.get_all("Project-URL") or ["none, "]:
        if not address.split(", ")[1].startswith("https://"):
            yield f"{wheel.name}: the address {address} is none"


def faults_of_sdist(sdist: Path) -> Iterator[str]:
    """A source distribution has what a wheel is built from and tested with, and nothing that is made or private."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in ("README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml", "src/saywhy/py.typed"):
        if wanted not in names:
            yield f"{sdist.name}: lacks {wanted}"
    yield from (f"{sdist.name}: has {name}" for name in sorted(names) if NEVER.search(name))


def too_large(file: Path) -> str:
    size, most = file.stat().st_size / 1e6, MOST[file.suffix]
    return f"{file.name}: {size:.1f} MB; at most {most}" if size > most else ""


def explains(wheel: Path) -> str:
    """What goes wrong where the wheel, without its dependencies, is installed beside those of this environment."""
    with TemporaryDirectory() as folder:
        clean = Path(folder, "clean")
        venv.create(clean, with_pip=False)
        python, place = clean / "bin" / "python", next((clean / "lib").iterdir()) / "site-packages"
        # Only the path: what makes the package of this checkout importable there is not followed.
        (place / "libraries.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        steps = (
            [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", wheel.resolve()],
            [python, "-c", f"import saywhy; assert saywhy.__file__.startswith({str(place)!r}), saywhy.__file__"],
            [clean / "bin" / "saywhy", "explain", "photos:coffee", "--model", "imagenet", "--out", "why"],
            [clean / "bin" / "saywhy", "explain", "world:aviary", "--model", "world:aviary", "-n", "1", "--json"],
        )
        for step in steps:
            ended = subprocess.run([str(word) for word in step], cwd=folder, env=env, capture_output=True, text=True)
            if ended.returncode:
                return f"{wheel.name}: {' '.join(map(str, step))}: {ended.stderr.strip() or ended.stdout.strip()}"
        missing = [name for name in ("index.html", "001-coffee.json") if not Path(folder, "why", name).is_file()]
        return f"{wheel.name}: explain wrote no {missing[0]}" if missing else ""


def installed(name: str, *extras: str) -> set[tuple[str, str]]:
    """(name, version) of all that a distribution needs, as it is installed here."""
    found, left = dict[str, str](), [(name, extras)]
    while left:
        one, wanted = left.pop()
        try:
            about = distribution(one)
        except PackageNotFoundError:
            continue
        for needed in map(Requirement, about.requires or ()):
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                if needed.name not in found or needed.extras:
                    left.append((needed.name, tuple(needed.extras)))
                found.setdefault(needed.name, "")
                try:
                    found[needed.name] = distribution(needed.name).version.partition("+")[0]
                except PackageNotFoundError:
                    del found[needed.name]
    canonical = {re.sub(r"[-_.]+", "-", one).lower(): version for one, version in found.items()}
    return set(canonical.items())


def audited(listed: Path) -> int:
    """1 where pip-audit knows a vulnerability of what is listed; where it cannot ask, a line says so, and 0."""
    asked = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "-r", str(listed), "-f", "json"]
    try:
        ended = subprocess.run(asked, capture_output=True, text=True, timeout=300)
        answers = json.loads(ended.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        print("pip-audit: its database did not answer in five minutes: nothing was asked")
        return 0
    except (ValueError, KeyError):
        print(f"pip-audit: nothing was asked ({(ended.stderr.strip().splitlines() or ['no answer'])[-1][:160]})")
        return 0
    known = [answer for answer in answers if "skip_reason" not in answer]
    bad = [f"{one['name']} {one['version']}: {v['id']}" for one in known for v in one["vulns"]]
    print("\n".join(bad))
    if not known:
        print(f"pip-audit: its database is not reachable here (it knows none of {len(answers)}): nothing was asked")
    else:
        print(f"pip-audit: {len(known)} of {len(answers)} packages were looked up, {len(bad)} vulnerabilities")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
