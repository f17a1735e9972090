"""``fdgpu doctor``: what is installed, what will run, and why."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

import torch

from fdgpu.device import choose_backend, choose_index_backend, cpu_count, place, why_no_cuda, why_no_cuml
from fdgpu.version import __version__

REQUIRED = (
    "torch",
    "torchvision",
    "open_clip",
    "diffusers",
    "numba",
    "numpy",
    "PIL",
    "pyarrow",
    "safetensors",
    "jinja2",
    "faiss",
)
DISTRIBUTIONS = {
    "open_clip": ("open_clip_torch",),
    "PIL": ("pillow",),
    "sklearn": ("scikit-learn",),
    "faiss": ("faiss-cpu", "faiss-gpu-cu12", "faiss-gpu-cuvs"),
    "cupy": ("cupy-cuda12x", "cupy-cuda13x", "cupy"),
    "cuml": ("cuml-cu12", "cuml-cu13"),
}
OPTIONAL = {
    "triton": "GPU kernels",
    "cupy": "CuPy arrays in and out",
    "cuml": "SVMs of very large classes on the GPU",
    "ffcv": "images from .beton files",
    "nltk": "nouns from WordNet",
    "wn": "nouns from WordNet",
    "transformers": "diffusers pipelines that read text",
    "sklearn": "the tests' oracle",
}


@dataclass(frozen=True)
class Line:
    """One thing that was looked at: good, merely absent, or broken."""

    name: str
    state: str  # "ok", "absent" or "broken"
    detail: str


def examine() -> list[Line]:
    """Look at everything; nothing is changed."""
    lines = [
        Line("fdgpu", "ok", __version__),
        Line("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Line("cores", "ok", f"{cpu_count()} for this process"),
        *[_package(name, None) for name in REQUIRED],
        *[_package(name, use) for name, use in OPTIONAL.items()],
        *_faiss_twice(),
        *_cuda(),
    ]
    placement, backend = place(), choose_backend("auto")
    weights = files("fdgpu") / "demo" / "clip" / "open_clip_model.safetensors"
    bundled = Line("bundled CLIP", "ok", "its weights are here")
    if not weights.is_file():
        bundled = Line("bundled CLIP", "broken", "its weights are missing: install fdgpu again")
    decoder = files("fdgpu") / "demo" / "decoder" / "diffusion_pytorch_model.safetensors"
    decoding = Line("bundled decoder", "ok", "its weights are here")
    if not decoder.is_file():
        decoding = Line("bundled decoder", "broken", "its weights are missing: install fdgpu again")
    recipes = sorted(file.name for file in (files("fdgpu") / "captions" / "recipes").iterdir())
    named = ", ".join(name.removesuffix(".toml") for name in recipes if name.endswith(".toml"))
    return [
        *lines,
        bundled,
        decoding,
        Line("recipes", "ok", named),
        Line("embedding runs on", "ok", f"{placement.device}, {placement.dtype} ({placement.reason})"),
        Line("solver runs on", "ok", f"{backend.name} ({backend.reason})"),
        *_caption_index(),
        _backend_cuml(),
    ]


def _package(module: str, use: str | None) -> Line:
    """Look a package up; one that is required is imported, since two that do not fit only fail then."""
    purpose = f", for {use}" if use else ""
    if importlib.util.find_spec(module) is None:
        return Line(module, "absent" if use else "broken", f"not installed{purpose}")
    if use is None:
        try:
            importlib.import_module(module)
        except (ImportError, OSError, RuntimeError) as error:  # a missing shared library, or versions that clash
            return Line(module, "broken", f"cannot be imported ({error})")
    for distribution in DISTRIBUTIONS.get(module, (module,)):
        with suppress(PackageNotFoundError):
            return Line(module, "ok", f"{version(distribution)}{purpose}")
    return Line(module, "ok", f"of unknown version{purpose}")


def _faiss_twice() -> list[Line]:
    """Say so if two builds of FAISS lie over each other: they bring the same module, and the CPU's is imported."""
    found = []
    for distribution in DISTRIBUTIONS["faiss"]:
        with suppress(PackageNotFoundError):
            found.append(f"{distribution} {version(distribution)}")
    if len(found) < 2:
        return []
    return [Line("faiss twice", "broken", f"{' and '.join(found)}: pip uninstall both, then install one")]


def _caption_index() -> list[Line]:
    """Say where captions are searched; nothing where FAISS cannot be imported, which its own line says."""
    try:
        choice = choose_index_backend("auto")
    except (ImportError, OSError, RuntimeError):
        return []
    return [Line("caption index runs on", "ok", f"{choice.name} ({choice.reason})")]


def _backend_cuml() -> Line:
    missing = why_no_cuml()
    if missing:
        return Line("backend cuml", "absent", missing)
    return Line("backend cuml", "ok", "runs when asked for by name")


def _cuda() -> list[Line]:
    if not torch.cuda.is_available():
        return [Line("CUDA", "absent", why_no_cuda())]
    lines = []
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        detail = f"{device.name}, sm_{device.major}{device.minor}, {device.total_memory / 2**30:.0f} GiB"
        lines.append(Line(f"CUDA {index}", "ok", detail))
    return lines


def healthy(lines: list[Line]) -> bool:
    """Whether everything that is required is there."""
    return not any(line.state == "broken" for line in lines) and sys.version_info >= (3, 11)
