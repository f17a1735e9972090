"""Which noise each picture starts from."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from fdgpu.errors import InputError

Seeds = int | Sequence[int]
MOST = 2**63 - 1  # of torch's generators


def picture_seeds(seed: Seeds, n: int) -> list[int]:
    """Return one seed a picture; of two numbers, no picture's seed is another's by an ill-chosen sum.

    Raises:
        InputError: for a number of seeds that is not the number of pictures, and seeds that are not whole or negative.
    """
    if isinstance(seed, Integral):
        if seed < 0:
            raise InputError(f"seed is {seed}: use 0 or more")
        return [int(np.random.SeedSequence([int(seed), i]).generate_state(1, np.uint64)[0] >> 1) for i in range(n)]
    seeds = listed_seeds(seed, "seed")
    if len(seeds) != n:
        raise InputError(f"seed holds {len(seeds)} seeds, there are {n} pictures: pass one number, or one a picture")
    return seeds


def listed_seeds(seeds: Any, name: str) -> list[int]:
    """Return seeds that are given one by one.

    Args:
        seeds: whole numbers from 0 to 2**63 - 1.
        name: what the caller calls them, for the error message.

    Raises:
        InputError: if they are something else.
    """
    try:
        listed = [operator.index(one) for one in seeds]
    except TypeError:  # a fraction, a text, or nothing to go through
        raise InputError(f"{name} is {seeds!r}: pass whole numbers, such as [0, 1]") from None
    outside = [one for one in listed if not 0 <= one <= MOST]
    if outside:
        raise InputError(f"{name} holds {outside[0]}: use 0 or more, and less than 2**63")
    return listed
