"""Known columns, such as a camera or a site, tested beside directions: on which of their values is the model worse?

A slice are the images of a class that have a value, or up to three. Whether more of them are wrong than chance puts
there is Fisher's exact test, one-sided: all errors of the class being given, those in the slice are hypergeometric. A
conjunction is tested against the class and against each of its parts, and its p is the largest of these (an
intersection-union test): it is found where it is worse than all that is shorter. So no list grows long by what follows
from one value.

q-values are Benjamini and Hochberg's over all candidates of all classes. Candidates of one, of two and of three values
have the same share of the weight (Genovese, Roeder and Wasserman, 2006), so that the many triples do not drown the few
single values.

Slices are found on the images of the fit, one of each group, and shown on others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import hypergeom

from fdgpu.arrays import Array, to_device, to_host
from fdgpu.auditing.columns.one_column import KnownColumns
from fdgpu.auditing.columns.tables import SYNONYMS
from fdgpu.auditing.images import AuditImages
from fdgpu.checks import check_flag, check_whole, shown
from fdgpu.directions.testing import false_discovery_rates
from fdgpu.errors import InputError
from fdgpu.findings import Interval, Slice, SlicesTested, Split, Tally

FEWEST_OF_KIND = 5  # errors, and right images, of a class that is searched
BLOCK_BYTES = {"cpu": 1 << 27, "cuda": 1 << 30}  # of indicators that are held at once
MOST_PRODUCTS = {"cpu": 2e12, "cuda": 1e14}  # multiplications of one number of values: beyond, it is not tried
TERMS = 60  # of a tail beyond the mean, and 6 deviations more
STRATUM = 20  # images of like decision value
MOST_STRATA = 50
ALONE = 0.05  # a conditional p above it shows nothing more
EXPLAINED = 0.8  # share of the excess of errors that is gone where a direction explains a slice
AT_LEAST = 0.5  # of it, where what is left may be chance

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class SliceSearch:
    """What is looked through for slices: columns beside the predictions, alone and together.

    Attributes:
        columns: ``"auto"``, every further column of the table of predictions; ``"none"``; names of some of these; or a
            mapping of a name to (n,) values: text, numbers, truth values, or lists of tags. By path, as a mapping of
            path to value, where labels are.
        conjunctions: most values that are taken together, 1 to 3.
        fewest: images of a class that a slice must have among those that are tested.
        unknown: take "unknown" for a value of its own: an empty cell, None or NaN.

    Example:
        >>> SliceSearch(["camera", "site"], conjunctions=2).fewest
        10
    """

    columns: str | Sequence[str] | Mapping[str, Array] = "auto"
    conjunctions: int = 3
    fewest: int = 10
    unknown: bool = False

    def __post_init__(self) -> None:
        check_whole(self.conjunctions, "conjunctions", 1, 3)
        check_whole(self.fewest, "fewest", 2)
        check_flag(self.unknown, "unknown")
        names = self.columns
        if isinstance(names, str):
            if names not in ("auto", "none"):
                raise InputError(f"slices is {shown(names)}: pass 'auto', 'none', or a list of names of columns")
        elif not isinstance(names, (Mapping, Sequence)) or not all(isinstance(one, str) and one for one in names):
            raise InputError(f"slices is {shown(names)}: pass names of columns, or a mapping of a name to (n,) values")
        elif isinstance(names, Mapping) and (ours := next((one for one in names if one in SYNONYMS), None)):
            raise InputError(f"slices holds a column {ours!r}, which is one of ours: call it something else")

    @classmethod
    def of(cls, given: object) -> SliceSearch:
        """Return what an audit was given: a search, or its columns alone."""
        return given if isinstance(given, cls) else cls(given)  # type: ignore[arg-type]  # checked there

    @property
    def values(self) -> Mapping[str, Array]:
        """Columns that were given with their values; none where they are the table's."""
        return self.columns if isinstance(self.columns, Mapping) else {}

    def chosen(self, further: Mapping[str, Array]) -> Mapping[str, Array]:
        """Return the columns to look through, of the table's.

        Raises:
            InputError: for a name that the table does not have.
        """
        if isinstance(self.columns, str):
            return further if self.columns == "auto" else {}
        for name in self.columns:
            if name not in further:
                there = ", ".join(map(shown, list(further)[:10])) or "none"
                raise InputError(
                    f"slices names {shown(name)}, and the further columns of the table are {there}: name columns that "
                    "it has, or pass their values as a mapping"
                )
        return {name: further[name] for name in self.columns}


NO_SEARCH = SliceSearch("none")


@dataclass(frozen=True)
class Candidates:
    """M slices that were tested.

    Attributes:
        class_of: (M,) index of the class.
        values: (M, 3) indices of values, ascending, -1 for none.
        n, n_errors: (M,) images, and errors among them.
        p: (M,) p-values; 1 of a conjunction that has no higher share of errors than each of its parts.
        untried: conjunctions of so many values, and more, were not tried, as there are too many; 0 where all were.
    """

    class_of: Ints
    values: Ints
    n: Ints
    n_errors: Ints
    p: Floats
    untried: int = 0

    @property
    def order(self) -> Ints:
        """(M,) how many values each has."""
        return np.asarray((self.values >= 0).sum(axis=1))

    @property
    def q(self) -> Floats:
        """(M,) q-values over all, every number of values having the same weight; never below p."""
        orders, counts = np.unique(self.order, return_counts=True)
        share = counts * len(orders) / max(1, len(self.p))
        weighted = np.minimum(1.0, self.p * share[np.searchsorted(orders, self.order)])
        return np.maximum(self.p, false_discovery_rates(weighted))


def search(members: Bools, wrong: Bools, class_of: Ints, asked: SliceSearch, device: torch.device) -> Candidates:
    """Test every conjunction of values within every class; classes of like size together.

    Indicators are columns of a matrix, a conjunction is a product of columns, and its counts are one more product: of
    all conjunctions of r values with all values. The host says which are large enough to go on with; it waits once for
    the counts of a block, and once for its p-values.

    Args:
        members: (N, V) who has which value.
        wrong: (N,) errors.
        class_of: (N,) class of each sample.
        asked: how many values are taken together, and how many images a slice needs.
        device: where counts and tails are computed.
    """
    order = np.argsort(class_of, kind="stable")
    classes, starts = np.unique(class_of[order], return_index=True)
    rows = np.split(order, starts[1:]) if len(order) else []
    kept = [(k, own) for k, own in zip(classes.tolist(), rows, strict=True) if _searched(wrong[own])]
    found: list[Candidates] = []
    for batch in _batches(kept, members.shape[1], device):
        found += _of_batch(batch, members, wrong, asked, device)
    if not found:
        none = np.empty(0, np.int64)
        return Candidates(none, np.empty((0, 3), np.int64), none, none, np.empty(0))
    joined = {
        name: np.concatenate([getattr(one, name) for one in found]) for name in ("class_of", "n", "n_errors", "p")
    }
    values = np.concatenate([one.values for one in found])
    return Candidates(values=values, untried=max(one.untried for one in found), **joined)


def _searched(wrong: Bools) -> bool:
    return bool(FEWEST_OF_KIND <= wrong.sum() <= len(wrong) - FEWEST_OF_KIND)


Batch = list[tuple[int, Ints]]  # classes with their rows


def _batches(classes: Batch, values: int, device: torch.device) -> Iterator[Batch]:
    """Yield classes of like size, as many as are held at once."""
    left = sorted(classes, key=lambda one: len(one[1]))
    most = BLOCK_BYTES.get(device.type, BLOCK_BYTES["cuda"])
    while left:
        at_once = max(1, most // (8 * len(left[-1][1]) * (values + 1)))
        yield left[-at_once:]
        left = left[:-at_once]


class _Counts:
    """Sizes and errors of the conjunctions of a batch, by class and values."""

    def __init__(self, base: int) -> None:
        self.base, self.keys, self.counts = base, np.empty(0, np.int64), np.empty((0, 2), np.int64)

    def add(self, class_of: Ints, values: Ints, counts: Ints) -> None:
        keys = np.concatenate([self.keys, self._key(class_of, values)])
        order = np.argsort(keys, kind="stable")
        self.keys, self.counts = keys[order], np.concatenate([self.counts, counts])[order]

    def of(self, class_of: Ints, values: Ints) -> tuple[Ints, Bools]:
        """Return (M, 2) sizes and errors, and which are known."""
        keys = self._key(class_of, values)
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return self.counts[at], self.keys[at] == keys

    def _key(self, class_of: Ints, values: Ints) -> Ints:
        powers = self.base ** np.arange(values.shape[1])
        return np.asarray(class_of * self.base**3 + ((values + 1) * powers).sum(axis=1))


def _of_batch(
    batch: Batch, members: Bools, wrong: Bools, asked: SliceSearch, device: torch.device
) -> Iterator[Candidates]:
    """Go from the classes to single values, to pairs, to triples."""
    most, v = max(len(own) for _, own in batch), members.shape[1]
    x = np.zeros((len(batch), v + 1, most), np.float32)  # the last has no member
    of_errors = np.zeros((len(batch), 1, most), np.float32)
    inside = np.zeros((len(batch), 1, most), np.float32)
    for i, (_, own) in enumerate(batch):
        x[i, :v, : len(own)], of_errors[i, 0, : len(own)], inside[i, 0, : len(own)] = members[own].T, wrong[own], 1
    on_device = (to_device(x, device), to_device(of_errors, device), to_device(inside, device))
    names = np.array([k for k, _ in batch], np.int64)
    known = _Counts(v + 1)
    totals = np.stack([inside.sum(axis=(1, 2)), of_errors.sum(axis=(1, 2))], axis=1).astype(np.int64)
    class_of, values = np.arange(len(batch)), np.empty((len(batch), 0), np.int64)
    known.add(class_of, values, totals)
    for r in range(1, asked.conjunctions + 1):
        if len(class_of) * most * v > MOST_PRODUCTS.get(device.type, MOST_PRODUCTS["cuda"]):
            none = np.empty(0, np.int64)
            yield Candidates(none, np.empty((0, 3), np.int64), none, none, np.empty(0), untried=r)
            return
        class_of, values, counts = _extended(class_of, values, *on_device, asked.fewest)
        known.add(class_of, values, counts)
        parts = [known.of(class_of, values[:, list(one)]) for m in range(r) for one in combinations(range(r), m)]
        proper = np.logical_and.reduce([there & (counts[:, 0] < own[:, 0]) for own, there in parts])
        class_of, values, counts = class_of[proper], values[proper], counts[proper]
        if not len(class_of):
            return
        p = _largest_p(counts, [own[proper] for own, _ in parts], device)
        yield Candidates(names[class_of], _padded(values), counts[:, 0], counts[:, 1], p)


def _padded(values: Ints) -> Ints:
    return np.pad(values, ((0, 0), (0, 3 - values.shape[1])), constant_values=-1)


def _extended(
    class_of: Ints, values: Ints, x: torch.Tensor, wrong: torch.Tensor, inside: torch.Tensor, fewest: int
) -> tuple[Ints, Ints, Ints]:
    """Join conjunctions of a batch's classes with every later value; return those that are large enough.

    Args:
        class_of: (P,) place of the class in the batch, ascending.
        values: (P, r).
        x: (K, V + 1, N) indicators.
        wrong: (K, 1, N) errors.
        inside: (K, 1, N) samples that there are.
        fewest: images of a slice.

    Returns:
        (Q,) classes, (Q, r + 1) values and (Q, 2) sizes and errors.
    """
    k, v, n = x.shape[0], x.shape[1] - 1, x.shape[2]
    sizes = np.bincount(class_of, minlength=k)
    place = np.arange(len(class_of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    own = np.full((k, int(sizes.max()), values.shape[1]), v)
    own[class_of, place] = values
    at_once = max(1, BLOCK_BYTES.get(x.device.type, BLOCK_BYTES["cuda"]) // (8 * k * max(n, v)))
    found: list[tuple[Ints, Ints, Ints]] = []
    for start in range(0, own.shape[1], at_once):
        block = own[:, start : start + at_once]
        rows = inside.expand(k, block.shape[1], n) if not block.shape[2] else x.new_ones(())
        for i in range(block.shape[2]):
            index = to_device(block[:, :, i, None], x.device).expand(k, block.shape[1], n)
            rows = rows * x.gather(1, index)
        both = torch.stack([rows @ x[:, :v].mT, (rows * wrong) @ x[:, :v].mT], dim=3)
        counts = to_host(both, "sizes and errors of slices").astype(np.int64)
        last = block[:, :, -1:] if block.shape[2] else np.full((*block.shape[:2], 1), -1)
        at = np.nonzero((counts[..., 0] >= fewest) & (np.arange(v) > last))
        found.append((at[0], np.concatenate([block[at[:2]], at[2][:, None]], axis=1), counts[at]))
    joined = tuple(np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(joined[0], kind="stable")
    return joined[0][order], joined[1][order], joined[2][order]


def _largest_p(counts: Ints, parts: Sequence[Ints], device: torch.device) -> Floats:
    """Return (M,) the largest p over all parts; 1 where a conjunction is not worse than each: p is then above 1/2."""
    p = np.ones(len(counts))
    worse = np.logical_and.reduce([counts[:, 1] * own[:, 0] > own[:, 1] * counts[:, 0] for own in parts])
    rows = np.flatnonzero(worse | (len(parts) == 1))  # single values all have theirs
    if len(rows):
        (n, e), (of, errors) = counts[rows].T, np.stack([own[rows] for own in parts]).transpose(2, 0, 1)
        e, n = np.broadcast_to(e, of.shape), np.broadcast_to(n, of.shape)
        p[rows] = excess_p(e, n, errors, of, device).max(axis=0)
    return p


def excess_p(e: Ints, n: Ints, errors: Ints, of: Ints, device: torch.device) -> Floats:
    """Return the chance of ``e`` errors or more among ``n`` samples, where ``errors`` of all ``of`` are.

    The upper tail of the hypergeometric distribution, term by term from the first. It has as many as there are, but no
    more than reach 6 deviations beyond the mean.

    Args:
        e: (…) errors that were seen.
        n: (…) samples in the slice.
        errors: (…) errors in all.
        of: (…) samples in all.
        device: where it is computed.
    """
    least = np.minimum(n, errors)
    beyond = TERMS + 6 * np.sqrt(least) + np.maximum(0, n * errors / np.maximum(of, 1) - e)
    terms = int(np.minimum(least - e, beyond).max()) if e.size else 0
    x, n_, m, t = (to_device(np.ascontiguousarray(one, np.float64), device) for one in (e, n, errors, of))
    log = _log_choose(m, x) + _log_choose(t - m, n_ - x) - _log_choose(t, n_)
    term = torch.ones_like(x)
    total = term.clone()
    for _ in range(terms):
        term = term * ((m - x) * (n_ - x) / ((x + 1) * (t - m - n_ + x + 1))).clamp_(min=0)
        total += term
        x = x + 1
    return to_host((log.exp() * total).clamp_(max=1.0), "p-values of slices")


def _log_choose(n: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)


def search_plainly(members: Bools, wrong: Bools, class_of: Ints, asked: SliceSearch) -> Candidates:
    """Return what :func:`search` does, by enumeration: its plain twin."""
    rows: list[tuple[int, tuple[int, ...], int, int, float]] = []
    for k in np.unique(class_of).tolist():
        x, y = members[class_of == k], wrong[class_of == k]
        if not _searched(y):
            continue
        for r in range(1, asked.conjunctions + 1):
            for values in combinations(range(x.shape[1]), r):
                inside = x[:, values].all(axis=1)
                parts = [x[:, one].all(axis=1) for m in range(r) for one in combinations(values, m)]
                n, e = int(inside.sum()), int(y[inside].sum())
                if n < asked.fewest or any(n == own.sum() for own in parts):
                    continue
                worse = all(e * own.sum() > y[own].sum() * n for own in parts)
                tails = [float(hypergeom.sf(e - 1, own.sum(), y[own].sum(), n)) for own in parts]
                rows.append((k, values, n, e, max(tails) if worse or r == 1 else 1.0))
    columns = tuple(zip(*rows, strict=True)) or ((), (), (), (), ())
    padded = np.array([[*own, -1, -1][:3] for own in columns[1]], np.int64).reshape(-1, 3)
    class_, n_, e_ = (np.array(columns[i], np.int64) for i in (0, 2, 3))
    return Candidates(class_, padded, n_, e_, np.array(columns[4], np.float64))


# --- what a slice is worth beside others, and beside a direction ------------------------------------------------------


@dataclass(frozen=True)
class Excess:
    """Errors of a slice beyond those that its strata let expect, and how often chance puts so many there."""

    errors: float
    p: float


def excess_within(inside: Bools, wrong: Bools, stratum: Ints) -> Excess:
    """Test whether a slice has more errors than the other samples of its own strata: exact, and one-sided.

    Within each stratum the errors in the slice are hypergeometric; their sum has the convolution of these.

    Args:
        inside: (N,) of the slice.
        wrong: (N,) errors.
        stratum: (N,) which stratum each is in.

    Example:
        >>> inside, wrong = np.arange(40) < 10, np.arange(40) % 10 < np.where(np.arange(40) < 10, 8, 2)
        >>> excess_within(inside, wrong, np.zeros(40, int))
        Excess(errors=4.5, p=0.0012...)
        >>> excess_within(inside, wrong, (~inside).astype(int))  # nothing is left to compare with
        Excess(errors=0.0, p=1.0)
    """
    chances, expected, least = np.ones(1), 0.0, 0
    for own in (stratum == one for one in np.unique(stratum)):
        of, errors, n = int(own.sum()), int(wrong[own].sum()), int(inside[own].sum())
        low, high = max(0, n + errors - of), min(n, errors)
        expected, least = expected + n * errors / of, least + low
        chances = np.convolve(chances, hypergeom.pmf(np.arange(low, high + 1), of, errors, n))
    seen = int((inside & wrong).sum())
    return Excess(seen - expected, min(1.0, float(chances[seen - least :].sum())))


def strata_of(decisions: Floats) -> Ints:
    """Cut samples along their decision value into strata of twenty, at least two and at most fifty.

    Many strata follow a slice that is a small end of a class; what is left within them is not due to the direction.
    """
    ranks = np.argsort(np.argsort(decisions, kind="stable"), kind="stable")
    count = int(np.clip(len(decisions) // STRATUM, 2, MOST_STRATA))
    return np.asarray(ranks * count // max(1, len(decisions)))


@dataclass(frozen=True)
class FoundSlices:
    """What the known columns of an audit show.

    Attributes:
        listed: every single value that was tested, and the significant conjunctions, class by class.
        tested: what was looked through.
        untried: so many values, and more, were not taken together; 0 where all were.
    """

    listed: tuple[Slice, ...]
    tested: SlicesTested
    untried: int = 0

    @property
    def significant(self) -> tuple[Slice, ...]:
        """The significant ones."""
        return tuple(one for one in self.listed if one.significant)

    @property
    def notes(self) -> Iterator[str]:
        """What a reader should know."""
        if self.tested.left_out:
            said = "; ".join(f"{name}: {why}" for name, why in self.tested.left_out.items())
            yield f"Of the known columns these were not tested: {said}."
        if self.untried:
            yield (
                f"Slices of {self.untried} values were not tried in all classes, as there are too many: name fewer "
                "columns, or ask for larger slices."
            )


def find_slices(images: AuditImages, known: KnownColumns, asked: SliceSearch, fdr: float, seed: int) -> FoundSlices:
    """Test slices on the samples of the fit, one of each group, and say what each significant one is worth.

    Args:
        images: of the audit, after the fit.
        known: their columns.
        asked: what is looked through.
        fdr: the false discovery rate.
        seed: draws which sample of a group is tested.
    """
    inputs = images.inputs
    rows = one_of_each(images, seed)
    any_wrong = inputs.by_image(~inputs.correct).reshape(len(inputs), -1).any(axis=1)
    known = known.without_answers(np.asarray(any_wrong))
    members, wrong, class_of = known.members[inputs.image_of(rows)], ~inputs.correct[rows], inputs.labels[rows]
    found = search(members, wrong, class_of, asked, images.vectors.device)
    q, order = found.q, found.order
    listed: list[Slice] = []
    kept = np.flatnonzero((order == 1) | (q <= fdr))
    kept = kept[np.lexsort((found.p[kept], q[kept], found.class_of[kept]))]
    for k in np.unique(found.class_of[kept]).tolist():
        at, of_class = kept[found.class_of[kept] == k], class_of == k
        values = [own[own >= 0] for own in found.values[at]]
        sure = int((q[at] <= fdr).sum())  # they come first
        inside = [members[of_class][:, own].all(axis=1) for own in values[:sure]]
        leaders = followed(inside, wrong[of_class])
        names: list[str] = []
        for j, i in enumerate(at.tolist()):
            one = Slice(
                class_name=inputs.class_names[k],
                values=tuple(known.values[v] for v in values[j]),
                n=int(found.n[i]),
                n_errors=int(found.n_errors[i]),
                p_value=float(found.p[i]),
                q_value=float(q[i]),
                significant=j < sure,
            )
            names.append(one.name)
            listed.append(_shown(one, np.asarray(known.members[:, values[j]].all(axis=1)), k, images))
        start = len(listed) - len(at)
        for j, leader in leaders.items():
            listed[start + j] = replace(listed[start + j], follows_from=names[leader])
    columns = [name for name, _ in known.values]
    tested = SlicesTested(
        columns={name: columns.count(name) for name in dict.fromkeys(columns)},
        left_out=dict(known.left_out),
        conjunctions=asked.conjunctions,
        fewest=asked.fewest,
        n_tested=tuple(int((order == r).sum()) for r in range(1, asked.conjunctions + 1)),
        tested_on=Split.VAL,
    )
    return FoundSlices(tuple(listed), tested, found.untried)


def one_of_each(images: AuditImages, seed: int) -> Ints:
    """Return the samples of the fit; of those of a class that belong together one, drawn without looking at answers."""
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(images.evidence >= 0))
    piece = images.evidence[rows] * len(images.inputs.class_names) + images.inputs.labels[rows]
    return np.sort(rows[np.unique(piece, return_index=True)[1]])


def followed(inside: Sequence[Bools], wrong: Bools) -> dict[int, int]:
    """Return which slices of a class follow from which: those whose excess is gone beside a surer one.

    The surest by its own count comes first. Each further one is tested within two strata, inside and outside of each
    before it; what shows nothing more there follows from that one.

    Args:
        inside: (N,) bool of each slice.
        wrong: (N,) errors.
    """
    whole = np.zeros(len(wrong), np.int64)
    order = sorted(range(len(inside)), key=lambda j: excess_within(inside[j], wrong, whole).p)
    leaders: list[int] = []
    found: dict[int, int] = {}
    for j in order:
        beside = (one for one in leaders if excess_within(inside[j], wrong, inside[one].astype(np.int64)).p > ALONE)
        leader = next(beside, None)
        if leader is None:
            leaders.append(j)
        else:
            found[j] = leader
    return found


def _shown(one: Slice, inside: Bools, k: int, images: AuditImages) -> Slice:
    """Add what the images that are shown say, and of a significant slice whether a direction explains it.

    A direction is judged on images that it was not fitted on: on its own, decision values know the errors.
    """
    rows = images.rows_of(k)
    own, wrong = inside[images.inputs.image_of(rows)], ~images.inputs.correct[rows]
    shown = Tally(int(own.sum()), int(wrong[own].sum()))
    one = replace(one, shown=shown, accuracy=Interval.of_share(shown.n - shown.n_errors, shown.n))
    if not one.significant or images.shown_from is Split.VAL:
        return one
    before = excess_within(own, wrong, np.zeros(len(rows), np.int64)).errors if shown.n else 0.0
    if before <= 0:  # there is nothing to explain
        return one
    decisions = images.decisions[rows]
    directions = [j for j in range(decisions.shape[1]) if np.isfinite(decisions[:, j]).all()]
    left = [excess_within(own, wrong, strata_of(decisions[:, j])) for j in directions]
    if not left:
        return one
    best = min(range(len(left)), key=lambda j: left[j].errors)
    explained = float(np.clip(1 - left[best].errors / before, 0, 1))
    holds = explained >= EXPLAINED or (explained >= AT_LEAST and left[best].p > ALONE)
    return replace(one, explained=explained, explained_by=directions[best] if holds else None)
