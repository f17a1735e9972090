"""From samples to batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class View:
    """What one model sees of a decoded image: a function of its pixels (3, h, w), or of the PIL image."""

    function: Callable[[Any], Tensor]
    takes_pil: bool = False
