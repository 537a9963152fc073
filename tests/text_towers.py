"""CLIPs with tiny text towers at random weights, of the kinds that open_clip has: for tests of prompt banks."""

from __future__ import annotations

from typing import Any

import torch

from saywhy.spaces.clip import ClipSpace

VISION = {"image_size": 8, "layers": 1, "width": 8, "head_width": 4, "patch_size": 4}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 3}


def tiny_clip(custom: bool = False, quick_gelu: bool = False, **text: Any) -> ClipSpace:
    """custom: a CustomTextCLIP, whose text tower is a module of its own. text: differences from TEXT."""
    from open_clip import CLIP, CustomTextCLIP
    from open_clip.tokenizer import SimpleTokenizer

    torch.manual_seed(0)
    config: dict[str, Any] = TEXT | text
    model = (CustomTextCLIP if custom else CLIP)(12, VISION, config, quick_gelu)
    for name, parameter in model.named_parameters():  # as they are made, all texts look the same
        if "embedding" in name or "bias" in name:
            torch.nn.init.normal_(parameter)
        elif "resblocks" in name and "weight" in name and parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=2 * parameter.shape[1] ** -0.5)
    model = model.eval().requires_grad_(False)
    tokenizer = SimpleTokenizer(context_length=config["context_length"])
    key = f"clip:tiny:{custom}{quick_gelu}{sorted(text.items())}"
    cpu = torch.device("cpu")
    return ClipSpace("a tiny CLIP", model.visual, model.encode_text, torch.as_tensor, tokenizer, cpu, key, 10.0)
