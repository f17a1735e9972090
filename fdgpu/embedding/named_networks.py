"""Networks by name, with their weights: open_clip's models, classifiers of torchvision and timm, and a user's file."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import logging
import struct
import sys
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # what torch raises for a file that holds more than weights
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from fdgpu.device import Choice, Placement
from fdgpu.embedding.preprocess import Preprocess
from fdgpu.embedding.text_tower import ClipModel
from fdgpu.errors import InputError, ModelError, one_line

if TYPE_CHECKING:
    from open_clip import HFTokenizer, SimpleTokenizer

Tokenizer: TypeAlias = "SimpleTokenizer | HFTokenizer"
RANDOM = "none"  # weights that were not trained
SHOWN = 3  # entries of a state_dict in an error
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


# --- torchvision's and timm's -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NamedNetwork:
    """A network as its library made it, on the CPU.

    ``preprocess`` is ours, or where the library's cannot be said by ours the library's own transform of a PIL image.
    ``class_names`` are of its outputs, None where nobody says; ``doubts`` what could make its answers wrong.
    """

    model: nn.Module
    preprocess: Preprocess | Callable[[Any], Tensor]
    class_names: tuple[str, ...] | None = None
    doubts: tuple[str, ...] = ()


def torchvision_network(name: str, weights: str | None = "DEFAULT") -> NamedNetwork:
    """Load a classifier of torchvision.

    Args:
        name: as ``torchvision.models.list_models()`` has it.
        weights: a name of its weights; a file with a state_dict, which may have been fine-tuned to other classes; None
            or ``"none"`` for random ones.

    Raises:
        ModelError: for an unknown name or weights, weights that cannot be had, or a file that holds another model's.
    """
    from torchvision import models

    what = f"torchvision has no {name!r} with weights {weights!r}"
    known = _loaded(lambda: models.get_model_weights(name), what)
    default = known["DEFAULT"]  # every classifier of torchvision has weights, whose preprocessing its others share

    def made(**settings: Any) -> nn.Module:
        extra = {"init_weights": False} if name in ("inception_v3", "googlenet") and not settings.get("weights") else {}
        network: nn.Module = models.get_model(name, **settings, **extra)
        return network

    if weights is None or weights == RANDOM:
        model, chosen = _loaded(lambda: made(weights=None), what), default
    elif Path(weights).is_file():
        held = read_weights(Path(weights))
        outputs = _outputs_of(held, _loaded(made, what))
        model, chosen = _loaded(lambda: made(weights=None, num_classes=outputs), what), default
        _fill(model, held, name, weights)
    else:
        chosen = _loaded(lambda: known[weights], f"{what}, nor is that a file; it has {', '.join(known.__members__)}")
        model = _loaded(lambda: made(weights=chosen), what)
    preprocess, names = Preprocess.of_torchvision(chosen.transforms()), tuple(chosen.meta["categories"])
    return NamedNetwork(model, preprocess, *_described(f"torchvision:{name}", model, names, weights))


def timm_network(name: str, weights: str | None = "DEFAULT") -> NamedNetwork:
    """Load a classifier of timm, with the preprocessing that timm says it was trained with.

    Args:
        name: as ``timm.list_models()`` has it.
        weights: ``"DEFAULT"`` for those of the name; a file with a state_dict; None or ``"none"`` for random ones.

    Raises:
        ModelError: as :func:`torchvision_network`.
    """
    import timm

    pretrained = weights == "DEFAULT"
    file = None if weights in (None, RANDOM, "DEFAULT") else Path(str(weights))
    if file is not None and not file.is_file():
        raise ModelError(f"there is no file {file} of weights for timm's {name}: pass a state_dict's path, or none")
    held = {} if file is None else read_weights(file)
    what = f"timm has no {name!r}"
    model = _loaded(lambda: timm.create_model(name, pretrained=pretrained), what)
    if file is not None:
        outputs = _outputs_of(held, model)
        model = _loaded(lambda: timm.create_model(name, num_classes=outputs), what)
        _fill(model, held, name, file)
    return NamedNetwork(
        model, preprocess_of_timm(model), *_described(f"timm:{name}", model, _timms_names(model), weights)
    )


def preprocess_of_timm(model: nn.Module) -> Preprocess | Callable[[Any], Tensor]:
    """Return what timm says that a network of its own was trained with."""
    from timm.data.config import resolve_data_config
    from timm.data.transforms_factory import create_transform

    config = resolve_data_config({}, model=model)
    transform: Callable[[Any], Tensor] = create_transform(**config)
    return Preprocess.of_timm(config) or transform


def _timms_names(model: Any) -> tuple[str, ...]:
    """Return WordNet ids of a network's outputs where timm knows which subset of ImageNet they are."""
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    names = model.pretrained_cfg.get("label_names") if hasattr(model, "pretrained_cfg") else None
    subset = infer_imagenet_subset(model)
    return tuple(names or (ImageNetInfo(subset).label_names() if subset else ()))


def _described(
    whole: str, model: nn.Module, names: tuple[str, ...], weights: str | None
) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return names that fit the outputs, and doubts."""
    fits = len(names) == _outputs_of(model.state_dict(), model)
    random = f"{whole} has random weights, which know nothing: name weights, or a file that holds some."
    return names if fits else None, (random,) if weights in (None, RANDOM) else ()


def _outputs_of(weights: Mapping[str, Tensor], model: nn.Module) -> int:
    """Return how many outputs weights are for: the rows of the last layer of the model whose weights they are."""
    name, own = list(model.state_dict().items())[-1]
    last = weights.get(name, own)
    return len(last) if last.ndim else 0


LIBRARIES = {"torchvision": torchvision_network, "timm": timm_network}


def _loaded(load: Callable[[], Any], what: str) -> Any:
    try:
        return load()
    except (ValueError, KeyError, RuntimeError, OSError) as error:
        raise ModelError(
            f"{what} here ({one_line(error)}): see its list of models, or pass weights that are on this disk"
        ) from None


# --- a user's own file ------------------------------------------------------------------------------------------------


def called(file: Path, function: str) -> object:
    """Return what a function of a Python file returns, which is called without arguments.

    Raises:
        InputError: if the file has no such function.
        ModelError: if the file or the function raises: names the line.
    """
    folder = str(file.resolve().parent)
    sys.path.insert(0, folder)  # a file imports what lies beside it, as where it is run
    try:
        module = _ran(file, lambda: _module(file))
        make = getattr(module, function, None)
        if not callable(make):
            own = [name for name, held in vars(module).items() if getattr(held, "__module__", "") == module.__name__]
            raise InputError(f"{file} has no function {function!r}: it has {', '.join(own) or 'none'}")
        return _ran(file, make)
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _module(file: Path) -> ModuleType:
    """Import a file under a name that nothing else has."""
    spec = importlib.util.spec_from_file_location(f"_fdgpu_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _ran(file: Path, run: Callable[[], Any]) -> Any:
    try:
        return run()
    except (Exception, SystemExit) as error:  # a user's code raises anything
        through = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        line = error.lineno if isinstance(error, SyntaxError) else through[-1] if through else None
        where = f"{file}, line {line}" if line else str(file)
        raise ModelError(f"{where} raises {type(error).__name__} ({one_line(error)}): correct it there") from error


# --- open_clip's ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LoadedModel:
    """A model on its device, in evaluation mode and without gradients.

    ``activation`` is ``"quick_gelu"``, ``"gelu"`` or ``"other"``, and why; ``doubt`` says what is uncertain about that,
    and is empty where nothing is.
    """

    model: ClipModel
    tokenizer: Tokenizer
    preprocess: Preprocess
    activation: Choice
    doubt: str


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
    quick, reason, doubt = _decide(name, pretrained, file, from_openai)
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
                force_quick_gelu=quick,
                require_pretrained=not from_openai,
            )
            if from_openai:
                _fill(model, {key: one for key, one in weights.items() if key not in OPENAIS_OWN}, name, file)
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
    activation = Choice(_activation_of(model), reason)
    return LoadedModel(
        model, tokenizer, Preprocess.of_model(open_clip.get_model_preprocess_cfg(model)), activation, doubt
    )


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


def _decide(name: str, pretrained: str | None, file: Path | None, from_openai: bool) -> tuple[bool, str, str]:
    """Return whether to force QuickGELU, why, and what is uncertain; with the other activation a model runs, wrongly.

    Of a file, only what was written about it counts. The weights themselves do not tell: half precision beside layer
    norms in float32 is how OpenAI saved them, and equally how open_clip saves anyone's fp16 model; and fine-tuned
    weights are near to OpenAI's own in nothing that could be looked up.
    """
    import open_clip

    if name.startswith(SCHEMAS):
        return False, "the model's configuration says so", ""
    if file is None:
        tag = open_clip.get_pretrained_cfg(name, pretrained)
        return bool(tag.get("quick_gelu", False)), f"open_clip's table says so of {pretrained!r}", ""
    if name.endswith(QUICK):
        return True, "the model's name says so", ""
    if name + QUICK not in open_clip.list_models():
        return False, f"every {name} of open_clip has it", ""
    if from_openai:
        return True, "the file is OpenAI's: it has their own entries, such as input_resolution", ""
    config = file.with_name("open_clip_config.json")
    written = _quick_gelu_of(config) if config.is_file() else None
    if written is not None:
        return written, f"{config.name} beside the weights says so", ""
    tag_name = _published_as(name, file)
    if tag_name is not None:
        quick = bool(open_clip.get_pretrained_cfg(name, tag_name).get("quick_gelu", False))
        return quick, f"the file has the checksum of open_clip's {tag_name!r}", ""
    return (
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


# --- files of weights -------------------------------------------------------------------------------------------------


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


def fill_weights(model: object, file: Path, name: str) -> None:
    """Give a model the weights of a file.

    Raises:
        InputError: for a file that is not there.
        ModelError: for one that holds another model's, or no weights.
    """
    if not file.is_file():
        raise InputError(f"there is no file {file} of weights for {name}: pass the path of a state_dict")
    if isinstance(model, nn.Module):
        _fill(model, read_weights(file), name, file)


def _fill(model: nn.Module, weights: Mapping[str, Tensor], name: str, file: object) -> None:
    own = model.state_dict()
    odd = [key for key in sorted(own.keys() | weights.keys()) if _shape(own, key) != _shape(weights, key)]
    if odd:
        said = "; ".join(
            f"{key} is {_shape(weights, key) or 'missing'} in the file and {_shape(own, key) or 'missing'} in the model"
            for key in odd[:SHOWN]
        )
        raise ModelError(
            f"{file} holds weights of another model than {name} ({said}; {len(odd)} such entries): name the model that "
            "they were saved from"
        )
    model.load_state_dict(weights)


def _shape(weights: Mapping[str, Tensor], key: str) -> str:
    return str(tuple(weights[key].shape)) if key in weights else ""
