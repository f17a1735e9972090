"""``fdgpu doctor``: what is installed, what will run, and why."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files

import torch

from fdgpu.cuda import (
    GPU_EXTRAS,
    architectures,
    capability_of,
    card_name,
    driver_version,
    quietly,
    serving_extra,
    why_no_cuda,
    why_triton_does_not_compile,
)
from fdgpu.device import (
    choose_backend,
    choose_device,
    choose_index_backend,
    cpu_count,
    has_faiss,
    why_no_cuml,
)
from fdgpu.extras import install, installed
from fdgpu.version import __version__

REQUIRED = (
    "torch",
    "torchvision",
    "open_clip",
    "numba",
    "numpy",
    "scipy",
    "pydantic",
    "PIL",
    "pyarrow",
    "safetensors",
    "jinja2",
)
EXTRAS = {  # what extras of fdgpu bring, or its user: for what, and how to get it
    "diffusers": ("decoding directions into pictures", install("decode")),
    "accelerate": ("loading diffusers pipelines", install("decode")),
    "faiss": ("an index of captions or images", install("index")),
    "cupy": ("CuPy arrays in and out", GPU_EXTRAS),
    "cuml": ("SVMs of very large classes on the GPU", GPU_EXTRAS),
    "matplotlib": ("figures of an audit", install("plot")),
    "wn": ("nouns from WordNet", install("wordnet")),
    "ray": ("work on several GPUs and machines", install("ray")),
    "datasets": ("data sets of Hugging Face as images", "pip install datasets"),
    "fiftyone": ("exports to FiftyOne", "pip install fiftyone"),
    "webdataset": ("a WebDataset as images; shards are read without it", "pip install webdataset"),
    "ffcv": ("FFCV's Loader as images; .beton files are read without it", "make ffcv, see docs/install.md"),
    "fsspec": ("images behind addresses, such as s3://", "pip install fsspec"),
}
OPTIONAL = {
    "nltk": "nouns from WordNet",
    "transformers": "diffusers pipelines that read text",
    "sklearn": "the tests' oracle",
}
IMPORTED = {"diffusers", "faiss", "ffcv"}  # where they are installed; the others are slow to import
WEIGHTS = {
    "bundled CLIP": "demo/clip/open_clip_model.safetensors",
    "bundled decoder": "demo/decoder/diffusion_pytorch_model.safetensors",
}


class State(StrEnum):
    """What was found."""

    OK = "ok"
    ABSENT = "absent"  # and not required
    BROKEN = "broken"


@dataclass(frozen=True)
class Line:
    """One thing that was looked at."""

    name: str
    state: State
    detail: str


def examine() -> list[Line]:
    """Look at everything; nothing is changed."""
    runs_on, backend = choose_device(), choose_backend("auto")
    return [
        Line("fdgpu", State.OK, __version__),
        Line("python", State.OK, f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Line("cores", State.OK, f"{cpu_count()} granted to this process, of {os.cpu_count()} in the machine"),
        *[_required(module) for module in REQUIRED],
        *[_optional(module, use, f" ({remedy})") for module, (use, remedy) in EXTRAS.items()],
        *[_optional(module, use) for module, use in OPTIONAL.items()],
        *_faiss_twice(),
        _triton(),
        _build(),
        _driver(),
        *_cards(),
        *[_weights(name, path) for name, path in WEIGHTS.items()],
        _recipes(),
        Line("embedding runs on", State.OK, f"{runs_on.device} ({runs_on.reason})"),
        Line("embedding computes in", State.OK, f"{runs_on.dtype} ({runs_on.precision_reason})"),
        Line("solver runs on", State.OK, f"{backend.name} ({backend.reason})"),
        *_caption_index(),
        _backend_cuml(),
        _decoders(),
    ]


def _required(module: str) -> Line:
    if importlib.util.find_spec(module) is None:
        return Line(module, State.BROKEN, "not installed")
    return _imported(module, "")


def _optional(module: str, use: str, remedy: str = "") -> Line:
    if importlib.util.find_spec(module) is None:
        return Line(module, State.ABSENT, f"not installed, for {use}{remedy}")
    if module in IMPORTED:
        return _imported(module, f", for {use}")
    return Line(module, State.OK, f"{_version(module)}, for {use}")


def _imported(module: str, purpose: str) -> Line:
    """Import a package that is installed: two that do not fit together only fail then."""
    try:
        importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:  # a missing shared library, or versions that clash
        return Line(module, State.BROKEN, f"cannot be imported ({error})")
    return Line(module, State.OK, f"{_version(module)}{purpose}")


def _version(module: str) -> str:
    return next(iter(installed(module).values()), "of unknown version")


def _faiss_twice() -> list[Line]:
    """Say so if two builds of FAISS lie over each other: they bring the same module, and the CPU's is imported."""
    builds = [f"{build} {version}" for build, version in installed("faiss").items()]
    if len(builds) < 2:
        return []
    return [Line("faiss twice", State.BROKEN, f"{' and '.join(builds)}: pip uninstall them all, then install one")]


def _triton() -> Line:
    missing = why_triton_does_not_compile()
    if missing is not None:
        return Line("triton", State.ABSENT, missing)
    return Line("triton", State.OK, f"{_version('triton')}, compiles the GPU kernels")


def _build() -> Line:
    """Say what this build of torch has code for, which needs no device."""
    if not torch.version.cuda:
        return Line("torch's CUDA", State.ABSENT, "this torch was built without CUDA")
    return Line("torch's CUDA", State.OK, f"{torch.version.cuda}, with code for {', '.join(architectures())}")


def _driver() -> Line:
    driver = driver_version()
    if driver is None:
        return Line("NVIDIA driver", State.ABSENT, "none is loaded")
    return Line("NVIDIA driver", State.OK, driver)


def _cards() -> list[Line]:
    if not quietly(torch.cuda.is_available):
        return [Line("CUDA", State.ABSENT, str(why_no_cuda()))]
    return [_card(torch.device("cuda", index)) for index in range(torch.cuda.device_count())]


def _card(device: torch.device) -> Line:
    missing = why_no_cuda(device)
    if missing is not None:
        return Line(str(device), State.ABSENT, missing)
    memory = torch.cuda.get_device_properties(device).total_memory
    extra = serving_extra(capability_of(device))
    return Line(str(device), State.OK, f"{card_name(device)}, {memory / 2**30:.0f} GiB; {install(extra)} serves it")


def _weights(name: str, path: str) -> Line:
    if (files("fdgpu") / path).is_file():
        return Line(name, State.OK, "its weights are here")
    return Line(name, State.BROKEN, "its weights are missing: install fdgpu again")


def _recipes() -> Line:
    names = sorted(file.name for file in (files("fdgpu") / "captions" / "recipes").iterdir())
    return Line("recipes", State.OK, ", ".join(n.removesuffix(".toml") for n in names if n.endswith(".toml")))


def _caption_index() -> list[Line]:
    """Say where captions are searched; nothing where there is no FAISS that can be imported, as its own line says."""
    if not has_faiss():
        return []
    try:
        choice = choose_index_backend("auto")
    except (ImportError, OSError, RuntimeError):
        return []
    return [Line("caption index runs on", State.OK, f"{choice.name} ({choice.reason})")]


def _backend_cuml() -> Line:
    missing = why_no_cuml()
    if missing:
        return Line("backend cuml", State.ABSENT, missing)
    return Line("backend cuml", State.OK, "runs when asked for by name")


def _decoders() -> Line:
    """Say what decodes images; without torchcodec Pillow decodes all of them, in more time."""
    try:
        from fdgpu.embedding.image_file import suffixes, torchcodec_decoders
    except ImportError as error:  # of what is required, which has a line of its own
        return Line("torchcodec", State.ABSENT, f"not looked at, as fdgpu.embedding cannot be imported ({error})")
    decoders = torchcodec_decoders()
    if isinstance(decoders, str):
        return Line("torchcodec", State.ABSENT, f"{decoders}; Pillow decodes all images")
    heic = "HEIC too" if ".heic" in suffixes() else "no HEIC, for lack of libheif"
    return Line("torchcodec", State.OK, f"{_version('torchcodec')}, decodes JPEG and PNG, and {heic}; Pillow the rest")


def healthy(lines: list[Line]) -> bool:
    """Whether everything that is required is there."""
    return not any(line.state is State.BROKEN for line in lines) and sys.version_info >= (3, 11)
