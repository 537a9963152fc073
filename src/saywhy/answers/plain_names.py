"""Names of models, spaces and files as others see them: without folders, and never with whose home they lie in."""

from __future__ import annotations

import re
from pathlib import Path

_HOME = re.compile(r"(?:/home/[^/\s\"'<>]+|/Users/[^/\s\"'<>]+|[A-Za-z]:\\Users\\[^\\\s\"'<>]+|/root)(?=[/\\]|$)")
_FOLDERS = re.compile(r"(?<![\w/.])(?:/|[A-Za-z]:\\|\.{1,2}/)(?:[^\s/\\,;:()'\"]+[/\\])+(?=[^\s/\\])")
_ENDS = ("/", "\\", "~", ".")  # how a path begins that is no name of a hub


def plain_name(name: str) -> str:
    """A model's name without the folders it lies in: "timm:/data/models/birds" is "timm:birds".

    Names of hubs ("hf:google/vit-base-patch16-224", "clip:ViT-B-32/laion2b_s32b_b79k") stay as they are.
    """
    kind, colon, path = name.partition(":")
    if not colon or len(kind) < 2:  # "C:\models" is a path
        kind, colon, path = "", "", name
    last = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    return f"{kind}{colon}{last}" if last and _is_path(path) else name


def _is_path(text: str) -> bool:
    if not re.search(r"[/\\]", text):
        return False
    begins = text.startswith(_ENDS) or bool(re.match(r"[A-Za-z]:[/\\]", text))
    return begins or len(re.findall(r"[/\\]", text)) > 1 or _exists(text)


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):
        return False


def without_home(text: str) -> str:
    """The text with "~" for every home folder in it, of whoever."""
    return _HOME.sub("~", text) if "/" in text or "\\" in text else text


def without_folders(text: str) -> str:
    """A text in which files are called by their own names: which folders this machine has is nobody's business."""
    return _FOLDERS.sub("", text)
