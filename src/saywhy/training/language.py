"""``saywhy train language``: a small GPT-2 on your own sentences, whose style the explanations then have."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor, nn

from saywhy.errors import SaywhyError
from saywhy.plumbing.devices import choose_device, device_of
from saywhy.plumbing.files import write_whole
from saywhy.plumbing.tensors import reading_checkpoint, write_checkpoint, writing_model
from saywhy.plumbing.texts import read_json, read_lines

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

END = "<|endoftext|>"
"""Stands before and after every sentence, as token 0."""
FEWEST = 100
HELD_OUT_SHARE = 0.05


@final
@dataclass(frozen=True)
class LanguageSettings:
    """The settings of one training run. The defaults are for some tens of thousands of captions.

    vocabulary: tokens at most; the 256 bytes and the end mark are always among them.
    longest:    tokens of a sentence with its end marks; what goes beyond is cut off.
    rate:       highest learning rate (AdamW; up over the first twentieth, then down to nothing along a cosine).
    """

    epochs: int = 8
    layers: int = 4
    width: int = 256
    heads: int = 4
    vocabulary: int = 4096
    longest: int = 96
    dropout: float = 0.1
    batch_size: int = 64
    rate: float = 1e-3
    weight_decay: float = 0.05
    seed: int = 0


def train_language(
    texts: str | Path | Sequence[str], out: str | Path, settings: LanguageSettings, resume: bool = False
) -> dict[str, float]:
    """Trains on 95 percent of the sentences, measures on the others after each epoch, and writes ``out``.

    texts: the sentences, or a file of them (see read_sentences); each is tidied (see tidy) and counts once.

    ``out`` is a transformers local directory with the best weights so far, in float16; the state to go on from is
    beside them in training.pt. Returns the perplexity per token on the held-out sentences, and the epoch it is of.

    Raises SaywhyError for a file that cannot be read, fewer than 100 sentences, a width that the heads do not divide,
    or a run to be resumed that is not there or had other settings or sentences.
    """
    out = Path(out)
    sentences = _distinct(read_sentences(texts) if isinstance(texts, str | Path) else texts)
    if len(sentences) < FEWEST:
        whose = f"{texts}: " if isinstance(texts, str | Path) else ""
        raise SaywhyError(f"{whose}only {len(sentences)} different sentences; at least {FEWEST} are needed")
    if settings.width % settings.heads:
        raise SaywhyError(f"--width {settings.width} is not a multiple of {settings.heads}, the attention heads")
    order = torch.randperm(len(sentences), generator=torch.Generator().manual_seed(settings.seed)).tolist()
    held_count = round(HELD_OUT_SHARE * len(sentences))
    held_texts, train_texts = ([sentences[i] for i in part] for part in (order[:held_count], order[held_count:]))
    tokenizer = byte_pair_tokenizer(train_texts, settings.vocabulary)
    rows, held = ([r[: settings.longest] for r in token_rows(tokenizer, part)] for part in (train_texts, held_texts))

    torch.manual_seed(settings.seed)
    network = gpt2(
        len(tokenizer),
        width=settings.width,
        layers=settings.layers,
        heads=settings.heads,
        longest=settings.longest,
        dropout=settings.dropout,
    )
    device = choose_device(None)
    network.to(device)  # type: ignore[arg-type]
    steps = math.ceil(len(rows) / settings.batch_size)
    optimiser = torch.optim.AdamW(network.parameters(), settings.rate, weight_decay=settings.weight_decay)
    schedule = _warm_cosine(optimiser, settings.epochs * steps)
    parts = {"network": network, "optimiser": optimiser, "schedule": schedule}
    run = {"settings": asdict(settings), "sentences": _digest([*rows, *held])}
    out.mkdir(parents=True, exist_ok=True)
    done: dict[str, Any] = {"epoch": -1, "best": math.inf, "history": []}
    if resume:
        done = _resume(out / "training.pt", parts, run)

    with Progress(transient=True) as progress:
        for epoch in range(done["epoch"] + 1, settings.epochs):
            torch.manual_seed(settings.seed * 10_000 + epoch)  # order and dropout: resuming changes no epoch
            bar = progress.add_task(f"epoch {epoch + 1} of {settings.epochs}", total=steps)
            losses = []
            batches = (padded(part).to(device) for part in _by_length(rows, settings.batch_size))
            for loss in fit(network, batches, optimiser, schedule, clip=1.0):
                if not math.isfinite(loss):
                    raise SaywhyError(f"the loss is no longer finite (epoch {epoch + 1})")
                losses.append(loss)
                progress.advance(bar)
            progress.remove_task(bar)
            measured = perplexity(network, held)
            mean = sum(losses) / len(losses)
            progress.console.print(f"epoch {epoch + 1}: loss {mean:.3f}, held-out perplexity {measured:.2f}")
            done["history"].append({"epoch": epoch + 1, "loss": mean, "perplexity": measured})
            done["epoch"] = epoch
            if measured < done["best"]:
                done["best"] = measured
                write_language(out, network, tokenizer)
            _save(out / "training.pt", {name: part.state_dict() for name, part in parts.items()}, done, run)
    report = {"history": done["history"], "sentences": len(rows), "held out": len(held), "settings": asdict(settings)}
    write_whole(out / "training.json", json.dumps(report, indent=1))
    best = min(done["history"], key=lambda row: row["perplexity"])
    return {"perplexity per token, held-out sentences": best["perplexity"], "epoch": best["epoch"]}


# -- sentences --------------------------------------------------------------------------------------------------------


def read_sentences(path: str | Path) -> list[str]:
    """A .json file's list of strings, or the lines of any other file.

    Raises SaywhyError for a file that is missing, empty, not UTF-8, or JSON of another shape.
    """
    path = Path(path)
    if path.suffix.lower() != ".json":
        lines = read_lines(path)
        if not any(map(str.strip, lines)):
            raise SaywhyError(f"{path}: the file is empty; it should have one sentence per line")
        return lines
    read = read_json(path)
    if not isinstance(read, list) or not all(isinstance(entry, str) for entry in read):
        raise SaywhyError(f'{path}: should be a list of strings, ["A bird on a branch.", ...]')
    return read


def tidy(text: str) -> str:
    """One line, single spaces, none before a stop or comma, and a full stop at the end if it has no stop."""
    text = re.sub(r"\s+([.,;:!?])", r"\1", " ".join(text.split()))
    if not text or re.search(r"[.!?…][\"'”’)\]]*$", text):
        return text
    return text.rstrip(",;:") + "."


def _distinct(texts: Iterable[str]) -> list[str]:
    """Tidied, each once, without those that hold no letter or digit."""
    return [text for text in dict.fromkeys(map(tidy, texts)) if any(c.isalnum() for c in text)]


# -- what every small language model of this package is made with -----------------------------------------------------


def byte_pair_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE of at most ``vocabulary`` tokens (at least all 256 bytes and END, which is token 0)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=END, eos_token=END, pad_token=END)


def gpt2(
    tokens: int, *, width: int, layers: int, heads: int, longest: int = 96, dropout: float = 0.1
) -> GPT2LMHeadModel:
    """GPT-2's architecture at random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=tokens, n_positions=longest, n_embd=width, n_layer=layers, n_head=heads, bos_token_id=0,
        eos_token_id=0, resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout,
    )  # fmt: skip
    return GPT2LMHeadModel(config)


def token_rows(tokenizer: Any, texts: Iterable[str]) -> list[Tensor]:
    """For each text its token ids, between two end marks."""
    return [torch.tensor([0, *tokenizer(text)["input_ids"], 0]) for text in texts]


def padded(rows: list[Tensor]) -> Tensor:
    """(N, longest) token ids; -1 where a row is over."""
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)


def next_token_loss(network: Any, rows: Tensor) -> Tensor:
    """Mean over the tokens of (N, T) ``rows``, as padded gives them, in nats."""
    rows = rows[:, : int((rows >= 0).sum(1).max())]
    logits = network(rows.clamp(min=0), attention_mask=(rows >= 0).long()).logits
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), rows[:, 1:].flatten(), ignore_index=-1)


def fit(
    network: nn.Module, batches: Iterable[Tensor], optimiser: Any, schedule: Any, clip: float | None = None
) -> Iterator[float]:
    """A step for each batch of padded rows, whose loss it yields; gradients longer than ``clip`` are cut."""
    network.train()
    for rows in batches:
        loss = next_token_loss(network, rows)
        optimiser.zero_grad()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        optimiser.step()
        schedule.step()
        yield loss.item()


def write_language(out: Path, network: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """A transformers local directory, weights in float16; whole files take the place of earlier ones."""
    with writing_model(out) as folder:
        deepcopy(network).half().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        about = folder / "tokenizer_config.json"
        said = json.loads(about.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}  # 4 and 5 know this name
        about.write_text(json.dumps(said, indent=2) + "\n")


# -- one run ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def perplexity(network: nn.Module, rows: list[Tensor], batch: int = 64) -> float:
    """Per token that is to be said, end mark included."""
    network.eval()
    device = device_of(network)
    ordered = sorted(rows, key=len)
    total = 0.0
    for start in range(0, len(ordered), batch):
        part = ordered[start : start + batch]
        said = sum(len(row) - 1 for row in part)
        total += float(next_token_loss(network, padded(part).to(device))) * said
    return math.exp(total / sum(len(row) - 1 for row in rows))


def _by_length(rows: list[Tensor], batch: int) -> Iterator[list[Tensor]]:
    """All rows in batches of about one length, so that little is padding; in a new order at each call."""
    order = torch.randperm(len(rows)).tolist()
    order.sort(key=lambda i: len(rows[i]))  # stable: those of one length stay shuffled
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    for i in torch.randperm(len(batches)).tolist():
        yield [rows[j] for j in batches[i]]


def _warm_cosine(optimiser: Any, steps: int) -> Any:
    from transformers import get_cosine_schedule_with_warmup

    return get_cosine_schedule_with_warmup(optimiser, max(1, steps // 20), steps)


def _digest(rows: list[Tensor]) -> str:
    """Of sentences and tokenizer at once."""
    return hashlib.sha256(torch.cat(rows).numpy().tobytes()).hexdigest()


def _save(path: Path, states: dict[str, Any], done: dict[str, Any], run: dict[str, Any]) -> None:
    write_checkpoint(path, {"states": states, "done": done, **run})


def _resume(path: Path, parts: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    with reading_checkpoint(path) as state:
        changed = [k for k, v in run["settings"].items() if state["settings"].get(k) != v]
        if changed:
            said = f"other settings ({', '.join(changed)})"
            raise SaywhyError(f"{path}: that run had {said}; give the same, or a new --out")
        if state["sentences"] != run["sentences"]:
            raise SaywhyError(f"{path}: that run had other sentences; give the same, or a new --out")
        for name, part in parts.items():
            part.load_state_dict(state["states"][name])
        done: dict[str, Any] = state["done"]
        return done
