r"""Random draws by counting: which members are drawn is a function of numbers, not of what was drawn before.

Every member of a class has a key in every draw, a hash of the seed, the stream, the class, the draw and its own place
in the class; drawn are the members with the smallest keys. So a seed draws the same on a CPU and on a device, whatever
else is drawn beside it and in which order. Permutations, halves of the samples and a few of the errors are all of them
:func:`choose`; what moves whole blocks of samples is :func:`deal`.

The hash is SplitMix64's (Steele, Lea and Flood, *Fast splittable pseudorandom number generators*, 2014), once over each
of the numbers; keys are its upper 32 bits, and of two equal ones the first comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numba import config, njit

GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
PIECES = 4  # of the classes for each thread, so that none waits long for another
U_GOLDEN, U_FIRST, U_SECOND = np.uint64(GOLDEN), np.uint64(FIRST), np.uint64(SECOND)
U30, U27, U31, U32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


@dataclass(frozen=True)
class Segments:
    """K classes whose members lie one class after the other, U in all.

    Attributes:
        starts: (K + 1,) int64; the members of class k are ``starts[k]`` to ``starts[k + 1]``.
        of: (U,) int64 class of each member.
    """

    starts: torch.Tensor
    of: torch.Tensor

    @cached_property
    def within(self) -> torch.Tensor:
        """(U,) place of each member in its class."""
        return torch.arange(len(self.of), device=self.of.device) - self.starts[self.of]


# --- kernel ---------------------------------------------------------------------------------------------------------


@njit(nogil=True, cache=True)
def _mixed(z):
    z = (z ^ (z >> U30)) * U_FIRST
    z = (z ^ (z >> U27)) * U_SECOND
    return z ^ (z >> U31)


@njit(nogil=True, cache=True)
def choose_kernel(states, starts, strata, quota, classes, first, chosen):
    """Mark the members with the ``quota`` smallest keys of each stratum, class by class; see :func:`choose`.

    A histogram of the keys' upper bits finds the bin in which a quota ends: two passes, and only that bin is sorted.
    """
    n_rows, n_draws, _ = chosen.shape
    n_strata = quota.shape[2]
    for k in classes:
        start, n = starts[k], starts[k + 1] - starts[k]
        bits = 4
        while bits < 16 and 1 << bits < n:
            bits += 1
        shift = np.uint32(32 - bits)
        keys, places, among = np.empty(n, np.uint32), np.empty(n, np.uint32), np.empty(n, np.int64)
        code, offset = np.empty(n, np.uint8), np.empty(n, np.uint32)
        counts = np.empty((n_strata + 1) << bits, np.int32)  # the last bins are for what is never drawn
        ends, left = np.zeros(n_strata + 1, np.uint32), np.empty(n_strata, np.int64)
        for r in range(n_rows):
            for i in range(n):
                code[i] = strata[r, start + i] if strata[r, start + i] >= 0 else n_strata
                offset[i] = code[i] << bits
            for p in range(n_draws):
                row = _mixed(states[r, k] + U_GOLDEN * np.uint64(first + p + 1))
                counts[:] = 0
                for i in range(n):
                    row += U_GOLDEN
                    keys[i] = np.uint32(_mixed(row) >> U32)
                    places[i] = offset[i] + (keys[i] >> shift)
                    counts[places[i]] += 1
                for stratum in range(n_strata):
                    at, open_ = stratum << bits, np.int64(quota[r, k, stratum])
                    while at < (stratum + 1) << bits and counts[at] <= open_:
                        open_ -= counts[at]
                        at += 1
                    ends[stratum] = at
                    left[stratum] = open_ if at < (stratum + 1) << bits else 0  # of the bin in which the quota ends
                own, n_among = chosen[r, p, start : start + n], 0
                for i in range(n):
                    end = ends[code[i]]
                    own[i] = places[i] < end
                    among[n_among] = i
                    n_among += places[i] == end
                for stratum in range(n_strata):
                    for _ in range(left[stratum]):
                        best = -1
                        for i in among[:n_among]:
                            is_open = code[i] == stratum and not own[i]
                            if is_open and (best < 0 or keys[i] < keys[best]):
                                best = i
                        if best >= 0:
                            own[best] = True


# --- launcher -------------------------------------------------------------------------------------------------------


def stream_states(indices: Sequence[int], *path: int) -> torch.Tensor:
    """Return (K,) int64 states from which the keys of each class follow, on the host.

    Args:
        indices: K numbers of the classes, which stay theirs whatever classes are beside them.
        path: the seed, and numbers that tell what is drawn from it.
    """
    state = torch.zeros(len(indices), dtype=torch.int64)
    for number in path:
        state = mixed(state + _signed(GOLDEN * (number + 1)))
    return mixed(state + _signed(GOLDEN) * (torch.tensor(list(indices), dtype=torch.int64) + 1))


def choose(
    segments: Segments,
    states: torch.Tensor,
    strata: torch.Tensor,
    quota: torch.Tensor,
    first: int,
    count: int,
    classes: Sequence[int] | None = None,
) -> torch.Tensor:
    """Draw without replacement from every stratum of every class, without a synchronisation with the host.

    Args:
        segments: U members of K classes.
        states: (R, K) int64 of :func:`stream_states`, for each of R rows.
        strata: (R, U) int8 stratum of each member in its class, 0 to S - 1; -1 for one that is never drawn.
        quota: (R, K, S) int64, how many are drawn from each stratum.
        first: number of the first draw.
        count: P, how many draws; draws are independent of each other.
        classes: those that are of interest, which saves a CPU the others; what is drawn of others has no meaning.

    Returns:
        (R, P, U) bool, the members that are drawn.
    """
    if states.device.type != "cpu":
        return choose_reference(segments, states, strata, quota, first, count)
    chosen = torch.zeros((len(states), count, len(segments.of)), dtype=torch.bool)
    asked = np.arange(states.shape[1]) if classes is None else np.asarray(classes, np.int64)
    arrays = (states.numpy().view(np.uint64), segments.starts.numpy(), strata.numpy(), quota.numpy())
    threads: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]  # the cores that this process may use
    with ThreadPoolExecutor(threads) as pool:
        parts = np.array_split(asked, min(len(asked), PIECES * threads) or 1)
        list(pool.map(lambda part: choose_kernel(*arrays, part, first, chosen.numpy()), parts))
    return chosen


# --- plain twin, and what a device runs -----------------------------------------------------------------------------


def choose_reference(
    segments: Segments, states: torch.Tensor, strata: torch.Tensor, quota: torch.Tensor, first: int, count: int
) -> torch.Tensor:
    """Do :func:`choose`'s work by sorting, in torch, on any device."""
    n_strata = quota.shape[-1]
    # beside the strata of a class lies one more for what is never drawn
    group = segments.of * (n_strata + 1) + torch.where(strata < 0, n_strata, strata)  # (R, U)
    quotas = torch.nn.functional.pad(quota, (0, 1)).flatten(1)
    sizes = torch.zeros_like(quotas).scatter_add_(1, group, torch.ones_like(group))
    in_order = group.sort(dim=1, stable=True).values
    rank = torch.arange(group.shape[1], device=group.device) - (sizes.cumsum(1) - sizes).gather(1, in_order)
    return deal(keys(segments, states, first, count), group, rank < quotas.gather(1, in_order))


def deal(keys: torch.Tensor, group: torch.Tensor, payload: torch.Tensor) -> torch.Tensor:
    """Give the k-th payload of a group to its member with the k-th smallest key.

    Args:
        keys: (R, P, U) of :func:`keys`.
        group: (R, U) int64 group of each member, below 2^31.
        payload: (R, U) of any type, the groups one after the other.

    Returns:
        (R, P, U) what each member received.
    """
    order = ((group[:, None] << 32) | keys).sort(dim=-1, stable=True).indices
    return torch.empty_like(order, dtype=payload.dtype).scatter_(-1, order, payload[:, None].expand(order.shape))


def keys(segments: Segments, states: torch.Tensor, first: int, count: int) -> torch.Tensor:
    """Return the keys (R, P, U) int64, 32 bits each, of the draws from ``first`` on."""
    draws = torch.arange(first + 1, first + count + 1, device=states.device)[:, None]
    rows = mixed(states[:, None] + _signed(GOLDEN) * draws)  # (R, P, K)
    return mixed(rows[..., segments.of] + _signed(GOLDEN) * (segments.within + 1)) >> 32 & 0xFFFFFFFF


def mixed(z: torch.Tensor) -> torch.Tensor:
    """Return SplitMix64's hash of int64 numbers, whose products wrap as those of unsigned ones do."""
    z = (z ^ _shifted(z, 30)) * _signed(FIRST)
    z = (z ^ _shifted(z, 27)) * _signed(SECOND)
    return z ^ _shifted(z, 31)


def _shifted(z: torch.Tensor, bits: int) -> torch.Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)  # int64 shifts its sign in


def _signed(number: int) -> int:
    """Return the signed number of the same 64 bits."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)
