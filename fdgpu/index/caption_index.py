"""``CaptionIndex``: millions of captions, searched by a direction, an image or another caption (paper, 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.arrays import ROWS_AT_ONCE, Array, restorer, to_device, to_host, to_torch
from fdgpu.checks import check_whole
from fdgpu.device import BatchSize, halving_batches
from fdgpu.errors import InputError
from fdgpu.index.exact import Found, best, better
from fdgpu.index.given_rows import batches, check_rows, check_scale, check_unit_rows, check_vector, moved
from fdgpu.index.kinds import IndexKind
from fdgpu.index.stores import Store
from fdgpu.index.vector_index import Neighbours, VectorIndex
from fdgpu.kernels.alignments import CHUNK_BYTES, EQUAL, caption_differences, relative
from fdgpu.progress import OneBar, Reporter, silent

SPARE = 16  # candidates beyond those that were asked for: captions nearer to a reference than rounding tells
NEAR = 64  # roundings of a squared length, below which its score is not told
SCORES = {"cpu": 1 << 22, "cuda": 1 << 27}  # at a time
MOST_VECTORS = 1 << 16  # likewise, however few the directions
PRECISION = {"cpu": torch.float32}  # elsewhere float64, out of reach of a choice of TF32; a CPU takes twice as long
HALF_EQUAL = 1e-3  # how far rounding to float16 moves a caption that is the reference


class Extremes(NamedTuple):
    """``hardest``: the lowest scores (q, k), ascending, and their ids; ``easiest``: the highest, descending."""

    hardest: Neighbours
    easiest: Neighbours


class TextEncoder(Protocol):
    """What turns captions into vectors, such as :class:`fdgpu.ClipEmbedder`."""

    def texts(self, captions: Sequence[str], progress: Reporter | None) -> Array:
        """Return (n, d) unit vectors of n captions."""
        ...


def encoded(embedder: TextEncoder, captions: Sequence[str]) -> Array:
    """Return the vectors of some captions, without a bar of their own.

    Raises:
        InputError: if there is not one for each.
    """
    vectors = embedder.texts(captions, silent)
    if len(vectors) != len(captions):
        raise InputError(
            f"the embedder gave {len(vectors)} vectors for {len(captions)} captions: it must give one each"
        )
    return vectors


class CaptionIndex(VectorIndex):
    """Unit vectors of captions, and the captions.

    Two kinds of question take two kinds of index:

    - Without ``reference`` it holds the captions themselves, for the images' or captions' vectors that they are
      nearest to.
    - With ``reference`` r it holds the unit differences d = (c - r) / σ, so that the score of a failure direction w is
      the inner product w·d: what :meth:`fdgpu.FailureDirections.score_captions` gives, for all captions at once.
      :meth:`hardest` and :meth:`easiest` ask for the two sides. σ is ``scale``, the fit's ``scale_``; all its
      classes share it. A caption that equals the reference has no direction and is left out.

    Args:
        embeddings: (n, d) unit vectors of the captions. None if they come by :meth:`add`.
        captions: n captions: a list, a :class:`fdgpu.CaptionGrammar`, or any other sequence.
        reference: (d,) unit vector of the caption that all are compared with.
        scale: (d,) deviations that a difference is divided by; default ones, as with ``whiten=False``.
        kind: as of :class:`fdgpu.VectorIndex`, and so are the others.
        expected: how many captions there will be.
        dtype: of the vectors.
        backend: where it runs.

    Example:
        >>> captions = ["a photo of a cat", "a photo of a white cat", "a photo of a black cat"]
        >>> index = fdgpu.CaptionIndex(np.eye(3), captions, reference=np.eye(3)[0])
        >>> w = [[0.0, -0.6, 0.8]]  # of one class, from hard to easy
        >>> index.names_of(index.hardest(w, k=1).ids), index.names_of(index.easiest(w, k=1).ids)
        ([['a photo of a white cat']], [['a photo of a black cat']])
    """

    _names_are = "captions"
    _own_names = ("reference", "scale")

    def __init__(
        self,
        embeddings: Array = None,
        captions: Sequence[str] | None = None,
        *,
        reference: Array = None,
        scale: Array = None,
        kind: str | IndexKind = "auto",
        expected: int | None = None,
        dtype: str = "float32",
        backend: str = "auto",
    ) -> None:
        self.reference = None if reference is None else check_vector(reference, "reference", None)
        self.scale = self._checked_scale(scale)
        super().__init__(embeddings, captions, kind=kind, expected=expected, dtype=dtype, backend=backend)

    @classmethod
    def from_captions(
        cls,
        captions: Sequence[str],
        embedder: TextEncoder,
        *,
        batch_size: int = 16384,
        reference: Array = None,
        progress: Reporter | None = None,
        **settings: Any,
    ) -> Self:
        """Encode captions batch by batch into an index; in memory are the index and one batch.

        Where lists or a graph are built, captions are taken in shuffled blocks of neighbours: the lists are learned
        from captions of all kinds, and neighbours still share their beginnings, which are encoded once.

        Args:
            captions: a grammar, a list, or any other sequence.
            embedder: a :class:`fdgpu.ClipEmbedder`, or anything with its ``texts(captions, progress)``.
            batch_size: captions to encode at a time.
            reference: (d,) unit vector, or the reference caption itself.
            progress: reports to it; default a bar on a terminal.
            settings: ``scale``, ``kind``, ``dtype``, ``backend``, ``expected``.
        """
        batch_size = check_whole(batch_size, "batch_size", 1)
        if isinstance(reference, str):
            reference = encoded(embedder, [reference])[0]
        index = cls(None, captions, reference=reference, **settings)
        with OneBar(progress) as report:
            index._encode(embedder, batch_size, report)
        return index

    def _encode(self, embedder: TextEncoder, batch_size: int, report: Reporter) -> None:
        """Encode and store the captions that the index was made with."""
        count = len(self.names)
        if not count:
            raise InputError("captions is empty: there is nothing to index")
        one = check_rows(encoded(embedder, [self.names[0]]), "embeddings", self.dimension)
        self._open(one, count).reserve(count)
        for blocks in batches(count, batch_size, shuffled=self._shuffled):
            report("index captions", self._seen, count)
            vectors = encoded(embedder, [self.names[i] for block in blocks for i in block])
            rows = check_unit_rows(vectors, "embeddings", self.dimension)
            self._add(rows, blocks, self._kept(rows))
            self._seen += len(rows)
        report("index captions", count, count)

    def _kept(self, rows: Tensor) -> NDArray[np.bool_] | None:
        """Return which rows (n,) differ from the reference: n bytes that come down for the ids of the others."""
        if self.reference is None:
            return None
        reference = to_device(self.reference, rows.device)
        far = [torch.linalg.vector_norm(part - reference, dim=1) >= EQUAL for part in rows.split(ROWS_AT_ONCE)]
        return to_host(torch.cat(far), "which captions equal the reference")

    def _stored(self, rows: Tensor) -> Tensor:
        """Return the unit differences from the reference."""
        if self.reference is None or self.scale is None:
            return super()._stored(rows)
        reference, scale = (to_device(vector, rows.device) for vector in (self.reference, self.scale))
        return caption_differences(rows, reference, scale).float()

    def _checked_scale(self, scale: Array) -> NDArray[np.float64] | None:
        if self.reference is None:
            if scale is not None:
                raise InputError("scale was given without a reference: pass reference= to index differences from it")
            return None
        return np.ones(len(self.reference)) if scale is None else check_scale(scale, len(self.reference))

    @property
    def captions(self) -> Sequence[str]:
        """The captions of all rows, looked up when asked for."""
        return self.names

    @property
    def dimension(self) -> int | None:
        """Length d of the vectors; None before the first, without a reference."""
        return super().dimension if self.reference is None else len(self.reference)

    # --- searching --------------------------------------------------------------------------------------------------

    def hardest(self, directions: Array, k: int, *, exact: bool = False) -> Neighbours:
        """Find the captions that name what each direction's failures share: the most negative scores.

        Args:
            directions: (q, d) w in whitened space, rows of ``fit.coef_``.
            k: how many captions for each direction.
            exact: look at every caption, with lists and graphs too.

        Returns:
            ``scores`` (q, k), those of ``score_captions``, the hardest first, and ``ids`` (q, k).

        Raises:
            InputError: if the index has no reference, and as :meth:`search`. A class without a direction has a row of
                NaN, and is to be left out.
        """
        return self._extremes(directions, k, exact, -1)

    def easiest(self, directions: Array, k: int, *, exact: bool = False) -> Neighbours:
        """Find the most positive scores; see :meth:`hardest`."""
        return self._extremes(directions, k, exact, 1)

    def _extremes(self, directions: Array, k: int, exact: bool, sign: int) -> Neighbours:
        if self.reference is None:
            raise InputError(
                "the index holds captions, not differences: make it with reference=, or ask for extremes(), where each "
                "direction has a reference of its own"
            )
        rows, k = self._checked(directions, k, "directions")
        scores, ids = self._search(sign * rows, k, exact)
        restore = restorer(directions)
        return Neighbours(restore(sign * scores), restore(ids))

    def extremes(self, directions: Array, references: Array, scale: Array = None, k: int = 10) -> Extremes:
        """Find the hardest and the easiest captions of directions that each have a reference of their own.

        One index of plain captions serves all classes: each has its own reference caption, and the differences from
        it are never stored. It is exact for every kind of index: every caption is looked at once, for all directions
        together, which takes two matrix products.

        Args:
            directions: (q, d) w in whitened space, rows of ``fit.coef_``; a class without a direction is to be left
                out.
            references: (q, d) unit vectors of each direction's reference caption, or (d,) of all.
            scale: (d,) the fit's ``scale_``; default ones, as with ``whiten=False``.
            k: how many captions of each side, at most ``len(index)``.

        Returns:
            Two :class:`Neighbours` of the directions' kind of array. Scores are those of ``score_captions``, to
            float64's rounding, of the vectors that are stored; of an index that was made with a reference to
            float32's. A caption that equals the reference has the score NaN, and comes last, where there are not k
            others.

        Raises:
            InputError: for what does not fit together, is not finite or not of unit length, or an index that was made
                with another reference or scale.
        """
        rows, k = self._checked(directions, k, "directions")
        device, (q, d) = rows.device, rows.shape
        given = torch.atleast_2d(to_torch(references, "references"))
        if len(given) not in (1, q):
            raise InputError(f"references has {len(given)} rows, directions has {q}: pass one for each, or one for all")
        given = moved(check_unit_rows(given, "references", d), device).double().expand(q, d)
        sigma = np.ones(d) if scale is None else check_scale(scale, d)
        if self.reference is None:
            whole = moved(to_torch(directions, "directions"), device).double()
            scores, positions = extremes(self._opened, whole, given, relative(to_device(sigma, device)), k)
            ids = self._ids.ids(positions)
        else:
            self._check_same(given, sigma)
            sides = [self._search(sign * rows, k, False) for sign in (-1, 1)]
            scores = torch.stack([-sides[0][0], sides[1][0]], dim=1).double()
            ids = torch.stack([side[1] for side in sides], dim=1)
        restore = restorer(directions)
        scores, ids = restore(scores), restore(ids)
        return Extremes(Neighbours(scores[:, 0], ids[:, 0]), Neighbours(scores[:, 1], ids[:, 1]))

    def _check_same(self, references: Tensor, scale: NDArray[np.float64]) -> None:
        """Check that the differences that are stored are those that are asked for."""
        own = to_device(np.asarray(self.reference), references.device)
        apart = torch.linalg.vector_norm(references - own, dim=1).amax()
        same_scale = self.scale is not None and np.allclose(scale, self.scale, rtol=1e-5)
        if not same_scale or to_host(apart, "how far the references are from the index's own") >= EQUAL:
            raise InputError(
                "the index holds differences from a reference, with a scale, that are not those that are asked for: "
                "make it without reference= and scale=, and it takes any"
            )


# --- directions that each have a reference of their own ---------------------------------------------------------------


def extremes(store: Store, directions: Tensor, references: Tensor, scale: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return scores (q, 2, k) float64 and positions (q, 2, k): the hardest, ascending, and the easiest, descending.

    A caption c scores w·d / ‖d‖ with d = (c - r) / σ, as :mod:`fdgpu.kernels.alignments` has it. Where r differs from
    direction to direction the differences cannot be stored. They need not be: with x = (c - m) / σ and ρ = (r - m) / σ,
    m the mean of the references,

        w·d = w·x - w·ρ,    ‖d‖² = ‖x‖² - 2 ρ·x + ‖ρ‖²,

    so that a block of captions costs two matrix products for all directions, and nothing of (captions, directions, d)
    is made. Both lose digits where c is near r. These scores only choose candidates, a few more than were asked for,
    and what lies so near a reference that rounding decides its length is looked at on both sides. The candidates are
    scored by ``caption_differences`` in float64.

    All vectors are looked at in lists and graphs of FAISS too. These find captions by their w·x alone, and lengths
    decide as much: of a million captions of a grammar, those 100 of the largest w·x hold 0.16 of the ten of the highest
    scores, and the 1000 of the largest 0.29 (200 directions, ``python -m benchmarks.index --only audit``).

    Args:
        store: of the captions' vectors.
        directions: (q, d) w, float64 on the device of the vectors.
        references: (q, d) r, likewise.
        scale: (d,) σ, likewise.
        k: how many of each side. A caption that equals the reference scores NaN, and comes last.
    """
    candidates = _candidates(store, directions, references, scale, k + SPARE)
    return _ranked(store, candidates, directions, references, scale, k)


def _candidates(store: Store, directions: Tensor, references: Tensor, scale: Tensor, k: int) -> Tensor:
    """Return (q, 2, up to k) positions of captions that score low and high."""
    kind = PRECISION.get(store.device.type, torch.float64)
    slack = 4 * torch.finfo(kind).eps * sqrt(store.dimension)
    q, centre = len(directions), references.mean(dim=0)
    rho = (references - centre) / scale
    along = (rho * directions).sum(dim=1, keepdim=True).to(kind)
    rho_squared = (1 - slack) * rho.square().sum(dim=1, keepdim=True).to(kind)
    both = torch.cat([directions, -2 * rho]).to(kind)
    least = (0.1 * EQUAL / scale.amax().to(kind)).square()
    centre, inverse = centre.to(kind), (1 / scale).to(kind)

    def sides(start: int, stop: int) -> tuple[Found, Found]:
        x = (store.block(start, stop).to(kind) - centre) * inverse
        squared = x.square().sum(dim=1)
        scores, lengths = (both @ x.T).split(q)
        lengths.add_((1 - slack) * squared).add_(rho_squared)
        near = lengths <= NEAR * slack * (squared + rho_squared)
        lengths.copy_(torch.maximum(lengths, torch.maximum(1e-9 * squared, least)))
        scores.sub_(along).mul_(lengths.rsqrt_())
        low = best(scores.masked_fill(near, -torch.inf), k, start, largest=False)
        return low, best(scores.masked_fill_(near, torch.inf), k, start)

    block = min(MOST_VECTORS, max(1, SCORES.get(store.device.type, SCORES["cpu"]) // q))
    blocks = halving_batches(sides, len(store), BatchSize(block))
    _, (low, high) = next(blocks)
    for _, (more_low, more_high) in blocks:
        low, high = better(low, more_low, k, largest=False), better(high, more_high, k)
    return torch.stack([low[1], high[1]], dim=1)


def _ranked(
    store: Store, candidates: Tensor, directions: Tensor, references: Tensor, scale: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """Score candidates (q, 2, m) as they are, and return the scores and positions (q, 2, k) of the best."""
    sign = to_device(np.array([[1.0], [-1.0]]), candidates.device)
    references, equal = (references.half(), HALF_EQUAL) if store.half else (references, EQUAL)

    def of_some(start: int, stop: int) -> tuple[Tensor, Tensor]:
        positions = candidates[start:stop]
        reference = references[start:stop, None]
        differences = caption_differences(store.vectors(positions), reference, scale, equal)
        scores = torch.einsum("qsmd,qd->qsm", differences, directions[start:stop])
        signed = sign * scores
        order = torch.where(signed.isnan(), torch.inf, signed).argsort(dim=-1, stable=True)[..., :k]
        return scores.gather(-1, order), positions.gather(-1, order)

    a_direction = 8 * candidates[0].numel() * store.dimension  # bytes
    chunk = CHUNK_BYTES.get(candidates.device.type, CHUNK_BYTES["cpu"])
    found = [some for _, some in halving_batches(of_some, len(candidates), BatchSize(max(1, chunk // a_direction)))]
    scores, positions = zip(*found, strict=True)
    return torch.cat(scores), torch.cat(positions)
