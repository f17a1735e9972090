"""The matrix product against FAISS's own search."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu.index import exact
from tests.index.vectors import unit_rows


@pytest.mark.parametrize(("q", "n"), [(1, 1), (255, 100), (300, exact.VECTORS + 500), (20, 2 * exact.VECTORS)])
def test_it_finds_what_faiss_finds(q: int, n: int) -> None:
    rows, queries = unit_rows(n, 8), 5 * unit_rows(q, 8, seed=1)
    flat = faiss.IndexFlatIP(8)
    flat.add(rows)
    k = min(n, 9)
    expected, ids = flat.search(queries, k)
    scores, places = exact.nearest(queries, rows, k)
    np.testing.assert_allclose(scores, expected, atol=3e-6)
    assert (places == ids).mean() > 0.999  # two scores may be one ulp apart
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ rows.T, places, axis=1), atol=3e-6)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 5), st.data())
def test_blocks_do_not_matter(n: int, block: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    rows, queries = unit_rows(n, 3, seed=n), unit_rows(4, 3, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "VECTORS", block)
        patch.setattr(exact, "QUERIES", block)
        scores, places = exact.nearest(queries, rows, k)
    np.testing.assert_allclose(scores, -np.sort(-(queries @ rows.T), axis=1)[:, :k], atol=1e-6)
    assert all(len(set(row)) == k for row in places.tolist())
