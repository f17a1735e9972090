"""What a command refuses before any work: wrong usage, which names its option."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from fdgpu.errors import FdgpuError


@contextmanager
def usage(option: str | None = None) -> Iterator[None]:
    """Make an error of ours wrong usage, of an option where that is known: nothing was done yet."""
    try:
        yield
    except FdgpuError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def check_device(device: str, precision: str = "auto") -> None:
    """Refuse a device that is not here, or a precision that it does not have."""
    from fdgpu.device import choose_device

    with usage("--device"):
        choose_device(device)
    with usage("--precision"):
        choose_device(device, precision)


def check_images(images: str, option: str = "--images") -> None:
    """Refuse what is not there; addresses and patterns are looked at by the source."""
    if not Path(images).exists() and not set("*?[{") & set(images) and "://" not in images:
        raise typer.BadParameter(f"{images!r} does not exist", param_hint=option)


def renamed_columns(text: str | None) -> dict[str, str] | None:
    """Read path=filename,label=target."""
    if text is None:
        return None
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(name.strip() and other.strip() for name, _, other in pairs):
        raise typer.BadParameter(f"{text!r} is not of the form path=filename,label=target", param_hint="--columns")
    return {name.strip(): other.strip() for name, _, other in pairs}


def class_names_of(file: Path | None) -> list[str] | None:
    """Read a file of class names."""
    from fdgpu.auditing.class_names import read_class_names

    with usage("--class-names"):
        return None if file is None else read_class_names(file)
