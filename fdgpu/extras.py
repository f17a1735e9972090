"""Libraries that only a part of fdgpu needs: what brings each, and which are installed, asked without an import."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from fdgpu.errors import MissingExtraError

DISTRIBUTIONS = {  # what may bring a module, where the name is another
    "open_clip": ("open_clip_torch",),
    "PIL": ("pillow",),
    "sklearn": ("scikit-learn",),
    "faiss": ("faiss-cpu", "faiss-gpu-cu12", "faiss-gpu-cuvs"),
    "cupy": ("cupy-cuda12x", "cupy-cuda13x", "cupy"),
    "cuml": ("cuml-cu12", "cuml-cu13"),
}


def require(module: str, extra: str | None, use: str) -> ModuleType:
    """Import a library that an extra brings, or the user.

    Args:
        module: its name, such as ``"diffusers"`` or ``"diffusers.utils"``.
        extra: of fdgpu, such as ``"decode"``; None where none brings it, and pip knows it by its name.
        use: what needs it, as the error begins: ``"decoding"``.

    Raises:
        MissingExtraError: if it is not installed; says what to install. A library that is there and fails to import
            raises its own error.
    """
    library = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != library:  # it is there, and lacks something of its own
            raise
    how = install(extra) if extra else f"pip install {library}"
    raise MissingExtraError(f"{use} needs {library}, which is not installed: {how}")


def install(extra: str) -> str:
    """Return the command that installs fdgpu with an extra."""
    return f"pip install 'fdgpu[{extra}]'"


def installed(module: str) -> dict[str, str]:
    """Return the version of every distribution that is installed and brings ``module``: more than one lie over it."""
    found: dict[str, str] = {}
    for distribution in DISTRIBUTIONS.get(module, (module,)):
        with suppress(PackageNotFoundError):
            found[distribution] = version(distribution)
    return found
