"""open_clip's models with their weights: from a hub, a folder or a file, and with the activation that they need."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import struct
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # what torch raises for a file that holds more than weights
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fdgpu.device import Choice, Placement
from fdgpu.embedding.text_tower import ClipModel
from fdgpu.embedding.tokens import Tokenizer
from fdgpu.errors import ModelError, one_line

SCHEMAS = ("local-dir:", "hf-hub:")
QUICK = "-quickgelu"  # ends open_clip's names of models with that activation
OPENAIS_OWN = ("input_resolution", "context_length", "vocab_size")  # entries that only OpenAI's archives have

# open_clip's names. Its "fp16" and "bf16" convert what is multiplied: convolutions, linear layers and attention. Layer
# norms keep float32 weights and compute in it, and so do embeddings; "pure_fp16" would round those too.
PRECISIONS = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}

# What open_clip, the hub's client, safetensors and torch raise for weights that are not there, damaged or of another
# model. The hub's own errors are OSErrors; open_clip makes RuntimeErrors of the rest.
NOT_LOADED = (
    OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ImportError, EOFError,
    OverflowError, struct.error, zipfile.BadZipFile, SafetensorError, UnpicklingError,
)  # fmt: skip


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device, in evaluation mode and without gradients.

    ``config`` is its preprocessing as open_clip configures it; ``activation`` is ``"quick_gelu"``, ``"gelu"`` or
    ``"other"``, and why; ``doubt`` says what is uncertain about that, and is empty where nothing is.
    """

    model: ClipModel
    tokenizer: Tokenizer
    config: dict[str, Any]
    activation: Choice
    doubt: str


@dataclass(frozen=True)
class _Decision:
    """Whether to force QuickGELU, why, and what is uncertain about it."""

    quick: bool
    reason: str
    doubt: str = ""


def load_model(name: str, pretrained: str | None, placement: Placement) -> LoadedModel:
    """Load a model through open_clip.

    Args:
        name: a model name of open_clip, or with a ``local-dir:`` or ``hf-hub:`` prefix.
        pretrained: a tag or a checkpoint's path, OpenAI's own TorchScript archives among them; None with a prefix,
            which names the weights too.
        placement: where it runs and in which precision.

    Raises:
        ModelError: for an unknown name or tag, or weights that cannot be had or are another model's. Random weights
            are never used, and nothing but tensors is ever read from a file.
    """
    import open_clip

    _check_name(name, pretrained)
    file = Path(pretrained) if pretrained is not None and Path(pretrained).is_file() else None
    weights = {} if file is None else read_weights(file)
    from_openai = any(entry in weights for entry in OPENAIS_OWN)
    decision = _decide(name, pretrained, file, from_openai)
    if not from_openai:
        weights = {}  # open_clip reads the file anew, and converts what comes of elsewhere
    try:
        with _quiet_root_logger():
            model = open_clip.create_model(
                name,
                None if from_openai else pretrained,
                load_weights=not from_openai,
                precision=PRECISIONS[placement.dtype],
                device=placement.device,
                force_quick_gelu=decision.quick,
                require_pretrained=not from_openai,
            )
            if from_openai:
                _fill(model, weights, name, pretrained)
            tokenizer = open_clip.get_tokenizer(name)
    except ModelError:
        raise
    except NOT_LOADED as error:
        remedy = (
            "check that the file belongs to this model"
            if file is not None
            else "weights are fetched from a model hub on first use: without a network, pass the path of a local "
            "checkpoint"
        )
        whole = f"{name}:{pretrained}" if pretrained else name
        raise ModelError(f"{whole} could not be loaded ({one_line(error)}): {remedy}") from error
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    activation = Choice(_activation_of(model), decision.reason)
    return LoadedModel(model, tokenizer, open_clip.get_model_preprocess_cfg(model), activation, decision.doubt)


def _check_name(name: str, pretrained: str | None) -> None:
    import open_clip

    if name.startswith(SCHEMAS):
        return
    known = open_clip.list_models()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=5, cutoff=0.4)
        hint = f"did you mean {', '.join(close)}?" if close else f"there are {len(known)}, such as ViT-B-32"
        raise ModelError(f"open_clip has no model {name!r}: {hint}")
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
    if pretrained is None:
        raise ModelError(f"{name} was asked for without weights: add a tag, one of {tags}, or a checkpoint's path")
    if not Path(pretrained).is_file() and not open_clip.get_pretrained_cfg(name, pretrained):
        raise ModelError(f"{pretrained!r} is neither a file nor a pretrained tag of {name}: use one of {tags}")


def _decide(name: str, pretrained: str | None, file: Path | None, from_openai: bool) -> _Decision:
    """Decide on QuickGELU: with the other activation a model runs, and its vectors are wrong.

    Of a file, only what was written about it counts. The weights themselves do not tell: half precision beside layer
    norms in float32 is how OpenAI saved them, and equally how open_clip saves anyone's fp16 model; and fine-tuned
    weights are near to OpenAI's own in nothing that could be looked up.
    """
    import open_clip

    if name.startswith(SCHEMAS):
        return _Decision(False, "the model's configuration says so")
    if file is None:
        tag = open_clip.get_pretrained_cfg(name, pretrained)
        return _Decision(bool(tag.get("quick_gelu", False)), f"open_clip's table says so of {pretrained!r}")
    if name.endswith(QUICK):
        return _Decision(True, "the model's name says so")
    if name + QUICK not in open_clip.list_models():
        return _Decision(False, f"every {name} of open_clip has it")
    if from_openai:
        return _Decision(True, "the file is OpenAI's: it has their own entries, such as input_resolution")
    config = file.with_name("open_clip_config.json")
    written = _quick_gelu_of(config) if config.is_file() else None
    if written is not None:
        return _Decision(written, f"{config.name} beside the weights says so")
    tag_name = _published_as(name, file)
    if tag_name is not None:
        quick = bool(open_clip.get_pretrained_cfg(name, tag_name).get("quick_gelu", False))
        return _Decision(quick, f"the file has the checksum of open_clip's {tag_name!r}")
    return _Decision(
        False,
        "the model's name says so, and the file says nothing",
        f"{file} does not say which activation its weights were trained with: GELU was taken, as in {name}. For "
        f"weights that were fine-tuned from OpenAI's this gives wrong vectors: then name the model {name}{QUICK}",
    )


def _quick_gelu_of(config: Path) -> bool | None:
    """Return what open_clip's configuration says; None for a file that is none."""
    try:
        model = json.loads(config.read_text(encoding="utf-8"))["model_cfg"]
        return bool(model.get("quick_gelu", False))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _published_as(name: str, file: Path) -> str | None:
    """Return the tag whose published file this is, by the SHA-256, or its beginning, in open_clip's addresses."""
    import open_clip

    published: dict[str, str] = {}
    for tag in open_clip.list_pretrained_tags_by_model(name):
        address = Path(str(open_clip.get_pretrained_cfg(name, tag).get("url", "")))
        for digits in (address.parent.name, address.stem.rpartition("-")[2]):
            if len(digits) in (8, 64) and all(digit in "0123456789abcdef" for digit in digits):
                published[digits] = tag
    if not published:
        return None
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return next((tag for digits, tag in published.items() if digest.startswith(digits)), None)


def read_weights(file: Path) -> dict[str, Tensor]:
    """Return a checkpoint's tensors by name, mapped from the disk where its format allows; none of NumPy's formats.

    Raises:
        ModelError: for a file that holds anything but tensors: such a file is never loaded.
    """
    if file.suffix in (".npy", ".npz"):
        return {}  # big_vision's, which open_clip reads
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(file)
        elif _is_torchscript(file):
            with warnings.catch_warnings():  # deprecated, as nobody should make such archives any longer
                warnings.simplefilter("ignore", FutureWarning)
                found = dict(torch.jit.load(file, map_location="cpu").state_dict())
        else:
            found = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except ModelError:
        raise
    except NOT_LOADED as error:
        raise ModelError(
            f"{file} cannot be read as weights ({one_line(error)}): pass a state_dict, as safetensors or torch.save "
            "write it, or OpenAI's archive"
        ) from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found or not all(isinstance(key, str) for key in found):
        raise ModelError(f"{file} holds a {type(found).__name__}, and no state_dict: save model.state_dict()")
    return {name.removeprefix("module."): value for name, value in found.items() if isinstance(value, Tensor)}


def _is_torchscript(file: Path) -> bool:
    """Whether a file is an archive of TorchScript.

    Raises:
        ModelError: for one with code that runs while it is loaded; OpenAI's have none.
    """
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if not any(entry.filename.endswith("/constants.pkl") for entry in entries):
            return False
        code = [entry for entry in entries if "/code/" in entry.filename]
        if any(b"__setstate__" in archive.read(entry) for entry in code):
            raise ModelError(f"{file} holds code that would run while it is loaded: pass its state_dict")
    return True


def _fill(model: nn.Module, weights: dict[str, Tensor], name: str, file: str | None) -> None:
    """Copy OpenAI's weights into a model, whose names they share."""
    given = {key: value for key, value in weights.items() if key not in OPENAIS_OWN}
    own = model.state_dict()
    odd = [
        f"{key} is {tuple(given[key].shape) if key in given else 'missing'} in the file and "
        f"{tuple(own[key].shape) if key in own else 'missing'} in the model"
        for key in sorted(own.keys() | given.keys())
        if key not in own or key not in given or own[key].shape != given[key].shape
    ]
    if odd:
        raise ModelError(
            f"{file} holds weights of another model than {name}: {odd[0]} ({len(odd)} such entries). Name the model "
            "that it was saved from"
        )
    model.load_state_dict(given)


def _activation_of(model: nn.Module) -> str:
    """Read off the model what it really has; towers of timm and Hugging Face bring their own."""
    from open_clip.transformer import QuickGELU

    kinds = [type(module) for module in model.modules()]
    return next((n for n, kind in (("quick_gelu", QuickGELU), ("gelu", nn.GELU)) if kind in kinds), "other")


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """open_clip logs its whole loading to the root logger, which prints where nobody configured logging."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        root.setLevel(level)
