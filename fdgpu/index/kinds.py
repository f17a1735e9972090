"""Which kind of index keeps how many vectors, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, sqrt

from fdgpu.checks import check_name, check_whole, shown
from fdgpu.errors import BackendError, InputError

MOST_LISTS_ON_GPU = 2048  # FAISS probes no more on a GPU, and an exact search probes all
MOST_LISTS = 2**31 - 1  # FAISS counts lists and candidates in 32 bits
MOST_LINKS = 1 << 14  # twice as many on the ground, for each vector
ROWS_A_LIST = 40  # that the lists are learned from: FAISS asks for 39
FLAT_ON_CPU = 1 << 26  # numbers, 268 MB: a query alone reads all of them, at 10 GB/s in 27 ms
SPARE = 4  # times k: what is looked at holds at least so many vectors


class Kind(StrEnum):
    """How vectors are kept and looked at: see :class:`IndexKind`."""

    AUTO = "auto"
    FLAT = "flat"
    IVF = "ivf"
    HNSW = "hnsw"


@dataclass(frozen=True)
class IndexKind:
    """A kind of index with its settings, and the reason in words.

    ``name`` is ``"flat"`` (every vector is looked at: exact, by torch), ``"ivf"`` (FAISS's inverted lists: the nearest
    ``probes`` of ``lists`` cells are looked at) or ``"hnsw"`` (FAISS's graph of ``links`` neighbours a vector, built
    with ``build_breadth`` and searched with ``breadth`` candidates).

    ``"auto"`` takes flat on a GPU, and on a CPU up to ``FLAT_ON_CPU`` numbers; from there on lists, where FAISS is
    installed. A GPU reads all that it holds in some ten milliseconds, for a thousand queries at once, and lists need
    more memory. ``"auto"`` never takes a graph. A graph is made for queries that look like what it holds, and
    directions and images do not look like captions. Of 100 000 captions of 128 dimensions a graph finds 0.42 and lists
    0.998 of the ten hardest of a direction, and 0.53 and 0.996 of the ten nearest to an image
    (``python -m benchmarks.index``).
    Lists take longer to make than a graph, and as long as 2000 flat searches one by one; where fewer questions are
    asked, flat is the faster.
    """

    name: str
    reason: str
    lists: int = 0
    probes: int = 0
    links: int = 32
    build_breadth: int = 80
    breadth: int = 256

    def __post_init__(self) -> None:
        check_name(self.name, "kind", [kind for kind in Kind if kind != Kind.AUTO])
        least = 1 if self.name == Kind.IVF else 0
        for name, lowest, most in (
            ("lists", least, MOST_LISTS),
            ("probes", least, max(least, self.lists if isinstance(self.lists, int) else 0)),
            ("links", 2, MOST_LINKS),
            ("build_breadth", 1, MOST_LISTS),
            ("breadth", 1, MOST_LISTS),
        ):
            object.__setattr__(self, name, check_whole(getattr(self, name), f"{name} of an IndexKind", lowest, most))
        if not isinstance(self.reason, str):
            raise InputError(f"reason of an IndexKind is {shown(self.reason)}: pass a text")

    @property
    def training_rows(self) -> int:
        """Rows that must have come before the lists can be learned; until then the index is flat, and exact."""
        return ROWS_A_LIST * self.lists if self.name == Kind.IVF else 0

    def probes_for(self, k: int, rows: int) -> int:
        """Return how many cells to look at: enough to hold several times ``k`` of ``rows`` vectors."""
        return min(self.lists, max(self.probes, ceil(SPARE * k * self.lists / rows)))

    def breadth_for(self, k: int) -> int:
        """Return how many candidates a search of the graph keeps."""
        return max(self.breadth, SPARE * k)

    @classmethod
    def choose(cls, name: str, rows: int, dimension: int, gpu: bool, faiss: bool = True) -> IndexKind:
        """Return the kind of that name, or the one that ``"auto"`` takes, for so many vectors."""
        if name == Kind.AUTO:
            return cls._by_size(rows, dimension, gpu, faiss)
        return cls.ivf(rows, gpu) if name == Kind.IVF else cls(Kind(name), "asked for by name")

    @classmethod
    def ivf(cls, rows: int, gpu: bool = False, reason: str = "asked for by name") -> IndexKind:
        """Return inverted lists for so many vectors: 4 √rows cells, an eighth of them looked at.

        With c cells and a share s of them looked at, a search computes c + s · rows products; the square root balances
        them, and four times as many cells make the share that is needed for the same recall smaller.
        """
        lists = max(1, min(round(4 * sqrt(rows)), rows // ROWS_A_LIST))
        lists = min(lists, MOST_LISTS_ON_GPU) if gpu else lists
        return cls(Kind.IVF, reason, lists=lists, probes=ceil(lists / 8))

    @classmethod
    def _by_size(cls, rows: int, dimension: int, gpu: bool, faiss: bool) -> IndexKind:
        size = f"auto: {rows} vectors of {dimension}"
        if gpu:
            return cls(Kind.FLAT, f"{size} are looked at one and all by a GPU")
        if rows * dimension <= FLAT_ON_CPU:
            return cls(Kind.FLAT, f"{size} are few enough to look at every one")
        if not faiss:
            return cls(Kind.FLAT, f"{size} are many to look at every one; FAISS, which has lists, is not installed")
        return cls.ivf(rows, reason=f"{size} are too many to look at every one")


def check_kind(kind: str | IndexKind) -> str | IndexKind:
    """Return a kind that is known.

    Raises:
        InputError: lists those there are.
    """
    if not isinstance(kind, IndexKind) and not (isinstance(kind, str) and kind in list(Kind)):
        raise InputError(f"kind is {shown(kind)}: use one of {', '.join(Kind)}, or an IndexKind")
    return kind


def check_backend(kind: IndexKind, gpu: bool) -> IndexKind:
    """Return a kind that runs where the index is.

    Raises:
        BackendError: for a graph on a GPU, which FAISS does not search there, or more lists than it probes there.
    """
    if kind.name == Kind.HNSW and gpu:
        raise BackendError("kind 'hnsw' was asked for, but FAISS has no such graph on a GPU: use 'flat' or 'ivf'")
    if kind.lists > MOST_LISTS_ON_GPU and gpu:
        raise BackendError(f"an index of {kind.lists} lists has more than FAISS probes on a GPU: use backend='cpu'")
    return kind
