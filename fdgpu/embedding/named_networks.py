"""Classifiers by name: torchvision's and timm's, with preprocessing and class names, and those of a user's file."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from fdgpu.embedding.preprocess import Preprocess
from fdgpu.embedding.weights import read_weights
from fdgpu.errors import InputError, ModelError, one_line

RANDOM = "none"  # weights that were not trained
SHOWN = 3  # entries of a state_dict in an error


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
        _fill(model, held, name, str(file))
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


def fill_weights(model: object, file: Path, name: str) -> None:
    """Give a model the weights of a file.

    Raises:
        InputError: for a file that is not there.
        ModelError: for one that holds another model's, or no weights.
    """
    if not file.is_file():
        raise InputError(f"there is no file {file} of weights for {name}: pass the path of a state_dict")
    if isinstance(model, nn.Module):
        _fill(model, read_weights(file), name, str(file))


def _fill(model: nn.Module, weights: dict[str, Tensor], name: str, file: str) -> None:
    own = model.state_dict()
    odd = [key for key in sorted(own.keys() | weights.keys()) if _shape(own, key) != _shape(weights, key)]
    if odd:
        said = "; ".join(f"{key} is {_shape(weights, key)}, {name} has {_shape(own, key)}" for key in odd[:SHOWN])
        raise ModelError(
            f"{file} holds weights of another model than {name} ({said}; {len(odd)} such entries): name the model that "
            "they were saved from"
        )
    model.load_state_dict(weights)


def _shape(weights: dict[str, Tensor], key: str) -> tuple[int, ...] | None:
    return tuple(weights[key].shape) if key in weights else None


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
