"""Loading open_clip models, with errors that say what there is instead."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdgpu.device import Placement
from fdgpu.errors import ModelError

SCHEMAS = ("local-dir:", "hf-hub:")


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode on its device, its tokenizer, and its preprocessing as open_clip configures it."""

    model: Any
    tokenizer: Any
    preprocess_config: dict[str, Any]


def load_model(name: str, pretrained: str | None, placement: Placement) -> LoadedModel:
    """Load a model through open_clip.

    Args:
        name: a model name of open_clip, or with a ``local-dir:`` or ``hf-hub:`` prefix.
        pretrained: a tag or a checkpoint's path; None with a prefix, which names the weights too.
        placement: where it runs and in which precision.

    Raises:
        ModelError: for an unknown name or tag, or weights that cannot be had. Random weights are never used.
    """
    import open_clip

    quick_gelu = _check_name(open_clip, name, pretrained)
    precision = "fp16" if placement.device.type == "cuda" else "fp32"
    try:
        with _quiet_root_logger():
            model = open_clip.create_model(
                name,
                pretrained,
                precision=precision,
                device=placement.device,
                force_quick_gelu=quick_gelu,
                require_pretrained=True,
            )
            tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # open_clip, the hub client and torch each raise their own kinds
        raise ModelError(
            f"{name}{':' + pretrained if pretrained else ''} could not be loaded ({error}). "
            "Weights are fetched from a model hub on first use: without a network, pass the path of a local checkpoint"
        ) from error
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return LoadedModel(model, tokenizer, open_clip.get_model_preprocess_cfg(model))


def _check_name(open_clip: Any, name: str, pretrained: str | None) -> bool:
    """Check name and tag; return whether the weights were trained with QuickGELU.

    open_clip only warns when the tag's activation is not the model's, and the embeddings are then wrong.
    """
    if name.startswith(SCHEMAS):
        return False
    known = open_clip.list_models()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=5, cutoff=0.4)
        hint = f"did you mean {', '.join(close)}?" if close else f"there are {len(known)}, such as ViT-B-32"
        raise ModelError(f"open_clip has no model {name!r}: {hint}")
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
    if pretrained is None:
        raise ModelError(f"{name} was asked for without weights: add a tag, one of {tags}, or a checkpoint's path")
    if Path(pretrained).is_file():
        return False
    config = open_clip.get_pretrained_cfg(name, pretrained)
    if not config:
        raise ModelError(f"{pretrained!r} is neither a file nor a pretrained tag of {name}: use one of {tags}")
    return bool(config.get("quick_gelu", False)) and not name.endswith("-quickgelu")


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """open_clip logs its whole loading to the root logger, which prints warnings where nobody configured logging."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
