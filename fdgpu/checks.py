"""Parameters, checked where they come in: one check a kind of value. An error names the parameter and what came."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Integral, Real

import numpy as np

from fdgpu.errors import InputError

LARGEST_SEED = 2**63 - 1  # torch's generators take one bit more, int64 does not
SHOWN = 60  # characters of a value in an error
FEW = 4  # entries that are shown one by one


def shown(value: object) -> str:
    """Return a value as an error shows it: short, in printable characters, and without waiting for a device."""
    if isinstance(value, np.generic):
        value = value.tolist()
    if isinstance(value, int) and value.bit_length() > 4 * SHOWN:
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, (str, bytes, int, float, complex)):
        text = repr(value[:SHOWN] if isinstance(value, (str, bytes)) else value)
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    if isinstance(value, (list, tuple)) and len(value) <= FEW and not any(isinstance(v, (list, tuple)) for v in value):
        inner = ", ".join(shown(one) for one in value)
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def check_whole(value: object, name: str, least: int = 0, most: int | None = None, hint: str = "") -> int:
    """Return a whole number from ``least`` to ``most``, of any integer type; 2.0, True and "2" are none.

    Args:
        value: what came.
        name: of the parameter.
        least: smallest that is taken.
        most: largest; None: any that 64 bits hold.
        hint: more of what to use, such as ``", 0 for none"``.

    Raises:
        InputError: for anything else.
    """
    number = _as_whole(value)
    if number is None or not least <= number <= (LARGEST_SEED if most is None else most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{name} is {shown(value)}: use a whole number {bounds}{hint}")
    return number


def _as_whole(value: object) -> int | None:
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None


def check_number(value: object, name: str, allowed: Callable[[float], bool], wanted: str) -> float:
    """Return a finite number that is ``allowed``; True and "0.5" are none.

    Args:
        value: what came.
        name: of the parameter.
        allowed: whether a number may be used.
        wanted: what to use, such as ``"a rate between 0 and 1"``.

    Raises:
        InputError: for anything else.
    """
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else np.nan
    except OverflowError:  # a whole number beyond what a float holds
        number = np.nan
    if not (np.isfinite(number) and allowed(number)):
        raise InputError(f"{name} is {shown(value)}: use {wanted}")
    return number


def check_flag(value: object, name: str) -> bool:
    """Return True or False, and nothing that is merely true or false, such as "no".

    Raises:
        InputError: for anything else.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise InputError(f"{name} is {shown(value)}: use True or False")
    return bool(value)


def check_text(value: object, name: str) -> str:
    """Return a text that can be written: without half of a surrogate pair, which UTF-8 does not know.

    Raises:
        InputError: for anything else.
    """
    if not isinstance(value, str) or any("\ud800" <= one <= "\udfff" for one in value):
        raise InputError(f"{name} is {shown(value)}: use a text that UTF-8 can hold")
    return value


def check_name(value: object, name: str, names: Iterable[str], error: type[Exception] = InputError) -> str:
    """Return one of several names.

    Raises:
        InputError: for anything else, or ``error``; lists the names.
    """
    known = list(names)
    if not isinstance(value, str) or value not in known:
        raise error(f"{name} is {shown(value)}: use one of {', '.join(known)}")
    return value


def check_kind(value: object, name: str, fits: bool, wanted: str) -> None:
    """Raise an InputError unless a value is of the kind that is wanted, such as ``"an fdgpu.Decoder"``."""
    if not fits:
        raise InputError(f"{name} is {shown(value)}: pass {wanted}")


def check_seed(value: object, name: str = "seed") -> int:
    """Return a seed, a whole number from 0 to 2**63 - 1, which torch and NumPy both take.

    Raises:
        InputError: for anything else.
    """
    number = _as_whole(value)
    if number is None or not 0 <= number <= LARGEST_SEED:
        raise InputError(f"{name} is {shown(value)}: use a whole number from 0 to 2**63 - 1")
    return number
