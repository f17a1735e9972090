"""Libraries that only a part of fdgpu needs, and what brings each."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from fdgpu.errors import MissingExtraError


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
