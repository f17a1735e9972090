"""Errors that say what was expected, what came, and what to do.

Every error that a caller can cause is a :class:`FdgpuError`, so that one ``except`` catches them all and the
command line can print the message without a traceback.
"""

from __future__ import annotations

import sys


class FdgpuError(Exception):
    """Base of every error that fdgpu raises on purpose."""


class InputError(FdgpuError, ValueError):
    """An argument, file or folder is not what was expected."""


class BackendError(FdgpuError, RuntimeError):
    """A backend or device that was asked for by name cannot run here."""


class MissingExtraError(FdgpuError, ImportError):
    """A library that an extra of fdgpu brings is not installed."""


class NotFittedError(FdgpuError, AttributeError):
    """A result was asked for before ``fit``."""


class ModelError(FdgpuError, RuntimeError):
    """A model or its weights cannot be loaded or used."""


class FdgpuWarning(UserWarning):
    """Something that the caller should know, though the work went on."""


def not_fitted(message: str) -> NotFittedError:
    """Return the error; where scikit-learn is loaded it is scikit-learn's own ``NotFittedError`` too."""
    theirs = sys.modules.get("sklearn.exceptions")
    if theirs is None:
        return NotFittedError(message)
    kind: type[NotFittedError] = type("NotFittedError", (NotFittedError, theirs.NotFittedError), {})
    return kind(message)


LONGEST_REASON = 300  # characters of another library's message: some list every tensor, or hold a whole traceback


def one_line(error: BaseException) -> str:
    """Return another library's message as part of a sentence; its type's name where it has none."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= LONGEST_REASON else words[:LONGEST_REASON] + " …"
