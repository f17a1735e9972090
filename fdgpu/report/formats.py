"""Numbers as a reader wants them: a true minus sign, an en dash where there is no number, never ``nan``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

MISSING = "–"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def fixed(value: float, digits: int = 2) -> str:
    """Return ``value`` with ``digits`` decimals, for example ``−0.30``."""
    if not math.isfinite(value):
        return MISSING
    text = f"{value:.{digits}f}"
    if float(text) == 0:  # "-0.00" is not a number that anyone wants to read
        text = text.lstrip("-")
    return text.replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """Return ``value`` with its sign always written, for example ``+0.30``."""
    text = fixed(value, digits)
    return f"+{text}" if text != MISSING and value > 0 and float(text) != 0 else text


def percent(value: float, digits: int = 1) -> str:
    """Return a share in [0, 1] as a percentage, for example ``8.0%``."""
    text = fixed(100 * value, digits)
    return text if text == MISSING else f"{text}%"


def count(value: int) -> str:
    """Return a whole number with its thousands set apart."""
    return f"{value:,}"


def chance(value: float) -> str:
    """Return a p- or q-value; one below 0.001 as that bound."""
    if not math.isfinite(value):
        return MISSING
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def precise(value: float) -> str:
    """Return a small share with two significant digits, never as a power of ten: ``0.005``, ``0.0001``."""
    if not math.isfinite(value):
        return MISSING
    digits = 1 - math.floor(math.log10(value)) if value > 0 else 0
    text = f"{value:.{max(digits, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def power(value: float) -> str:
    """Return a regularisation strength, as a power of ten where it is one: ``10⁻³``."""
    if not math.isfinite(value):
        return MISSING
    if value > 0:
        exponent = round(math.log10(value))
        if math.isclose(value, 10.0**exponent, rel_tol=1e-9):
            return "1" if exponent == 0 else "10" + str(exponent).translate(_SUPERSCRIPT)
    return f"{value:.3g}".replace("-", "−")


def significant(value: float, digits: int = 2) -> str:
    """Return ``value`` with so many significant digits, never as ``-5e-05``: ``−0.31``, ``12``, ``−5.0 × 10⁻⁵``."""
    if not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    power_of_ten = int(exponent)
    if -3 <= power_of_ten < 6:
        return fixed(value, max(0, digits - 1 - power_of_ten))
    return f"{mantissa} × 10{str(power_of_ten).translate(_SUPERSCRIPT)}".replace("-", "−", 1)


def tick_labels(values: Sequence[float]) -> tuple[list[str], str]:
    """Return labels of the evenly spaced ticks of an axis, and the power of ten that they leave to its name."""
    largest = max((abs(value) for value in values), default=0.0)
    exponent = math.floor(math.log10(largest)) if largest > 0 else 0
    power_of_ten = 0 if -3 <= exponent < 6 else exponent
    scaled = [value / 10.0**power_of_ten for value in values]
    step = min((abs(b - a) for a, b in pairwise(scaled)), default=abs(scaled[0]) if scaled else 1.0) or 1.0
    digits = max(0, math.ceil(-math.log10(step) - 1e-9))
    times = f" × 10{str(power_of_ten).translate(_SUPERSCRIPT)}" if power_of_ten else ""
    return [fixed(value, digits) for value in scaled], times


def duration(seconds: float) -> str:
    """Return a time as ``0.42 s``, ``3 min 05 s`` or ``1 h 02 min``."""
    if not math.isfinite(seconds):
        return MISSING
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plural(number: int, noun: str, many: str = "") -> str:
    """Return a count with its noun: ``1 image``, ``1,200 images``."""
    return f"{count(number)} {noun if number == 1 else many or noun + 's'}"
