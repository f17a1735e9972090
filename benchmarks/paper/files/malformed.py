"""Errors of files that are there and do not hold what they should."""

from __future__ import annotations

from pathlib import Path

from fdgpu.errors import InputError


def bad_line(path: Path, line: int, expected: str, found: object) -> InputError:
    """Return the error for one line of a text file; lines count from 1."""
    return InputError(f"{path}, line {line}: expected {expected}, found {found!r}")


def bad_file(path: Path, expected: str, found: str) -> InputError:
    """Return the error for a whole file."""
    return InputError(f"{path}: expected {expected}, found {found}; is it cut off? Get it again")
