"""Which kind for how many vectors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.errors import InputError
from fdgpu.index import IndexKind, VectorIndex
from fdgpu.index.kinds import ROWS_A_LIST
from tests.index.vectors import names, unit_rows

ROWS = st.integers(1, 10**9)


@given(ROWS, st.integers(1, 4096), st.booleans())
def test_auto_says_why(rows: int, dimension: int, gpu: bool) -> None:
    kind = IndexKind.choose("auto", rows, dimension, gpu)
    assert kind.name in ("flat", "ivf")
    assert kind.reason.startswith(f"auto: {rows} vectors of {dimension}")
    smaller = IndexKind.choose("auto", max(1, rows // 2), dimension, gpu)
    order = ("flat", "ivf")
    assert order.index(smaller.name) <= order.index(kind.name)


@given(ROWS, st.booleans(), st.integers(1, 1000))
def test_lists_can_be_learned_and_hold_enough(rows: int, gpu: bool, k: int) -> None:
    kind = IndexKind.ivf(rows, gpu)
    assert 1 <= kind.probes <= kind.lists
    assert kind.training_rows <= max(rows, ROWS_A_LIST)
    probes = kind.probes_for(k, rows)
    assert kind.probes <= probes <= kind.lists
    assert probes == kind.lists or probes * rows / kind.lists >= k


def test_the_number_of_vectors_to_come_decides() -> None:
    rows = unit_rows(10, 4)
    assert VectorIndex(rows, names(10)).kind_.name == "flat"
    assert VectorIndex(rows, names(10), expected=10**8).kind_.name == "ivf"
    assert VectorIndex(None, range_of_names(10**8)).add(rows).kind_.name == "ivf"


def range_of_names(count: int) -> list[str]:
    class Names(list):
        def __len__(self) -> int:
            return count

    return Names()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "tree"}, "kind is 'tree': use one of flat, ivf, hnsw"),
        ({"name": "auto"}, "kind is 'auto': use one of flat, ivf, hnsw"),
        ({"name": "ivf"}, "lists of an IndexKind is 0: use a whole number from 1"),
        ({"name": "ivf", "lists": 4, "probes": 5}, "probes of an IndexKind is 5: use a whole number from 1 to 4"),
        ({"name": "ivf", "lists": "4", "probes": 1}, "lists of an IndexKind is '4'"),
        ({"name": "hnsw", "links": 0}, "links of an IndexKind is 0"),
        ({"name": "hnsw", "breadth": 1.5}, "breadth of an IndexKind is 1.5"),
        ({"name": "flat", "reason": 3}, "reason of an IndexKind is 3"),
    ],
)
def test_a_kind_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        IndexKind(**{"reason": "a test", **settings})
