"""Errors that say what was expected, what came, and what to do.

Every error that a caller can cause is a :class:`FdgpuError`, so that one ``except`` catches them all and the
command line can print the message without a traceback.
"""

from __future__ import annotations


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
