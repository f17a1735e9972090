"""Vectors that somebody else made: what is taken, what is refused, and what becomes of a row without a direction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu.embedding.given import GivenCaptions, GivenVectors, NamedImages
from fdgpu.errors import InputError

NAN = float("nan")
CPU = torch.device("cpu")


@given(st.integers(1, 20), st.integers(1, 8), st.floats(1e-3, 1e3), st.sampled_from(["float16", "float32", "float64"]))
@settings(deadline=None, max_examples=30)
def test_of_a_vector_its_direction_counts(n: int, d: int, length: float, kind: str) -> None:
    x = np.random.default_rng(n).normal(size=(n, d)) + 0.1
    embedded = GivenVectors((length * x).astype(kind)).embed(NamedImages(map(str, range(n))))
    assert embedded.vectors.dtype == torch.float32
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(embedded.vectors.numpy(), unit, atol=2e-3)
    assert (embedded.ids, embedded.unreadable) == ([str(i) for i in range(n)], {})


def test_a_zero_vector_and_one_that_is_not_finite_are_left_out() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 0.0], [NAN, 1.0], [float("inf"), 1.0]])
    embedded = GivenVectors(rows).embed(NamedImages("abcd"), fingerprint=True)
    assert embedded.vectors.isfinite().all(dim=1).tolist() == [True, False, False, False]
    assert embedded.unreadable == {"b": "its vector is zero"}
    assert embedded.fingerprint == GivenVectors(2 * rows).embed(NamedImages("abcd"), fingerprint=True).fingerprint
    assert embedded.fingerprint != GivenVectors(rows.flip(1)).embed(NamedImages("abcd"), fingerprint=True).fingerprint


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones(3), r"embeddings has shape \(3,\): pass one vector a row"),
        (np.ones((0, 3)), r"embeddings has shape \(0, 3\)"),
        ([torch.ones(2), torch.ones(3)], r"vectors of the shapes \(2,\), \(3,\): pass equal ones"),
        ([["a"]], "embeddings is of type"),
    ],
)
def test_what_is_no_rows_of_vectors_is_refused(vectors: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GivenVectors(vectors)


def test_other_images_than_vectors_are_refused() -> None:
    with pytest.raises(InputError, match="embeddings has 3 rows, there are 2 images"):
        GivenVectors(np.eye(3)).embed(NamedImages("ab"))


@pytest.mark.parametrize(
    "captions", [{"a": [3.0, 4.0], "b": [0.0, 1.0]}, (["a", "b"], np.array([[3.0, 4.0], [0.0, 1.0]]))]
)
def test_captions_are_read_by_looking_them_up(captions: Any) -> None:
    reader = GivenCaptions(captions, CPU)
    assert reader.texts(["b", "a", "b"]).tolist() == [[0, 1], pytest.approx([0.6, 0.8]), [0, 1]]
    assert (reader.fits("a"), reader.fits("c"), reader.dimension, reader.listed) == (True, False, 2, ("a", "b"))
    with pytest.raises(InputError, match="no vector of 'c'"):
        reader.texts("c")


@pytest.mark.parametrize(
    ("captions", "message"),
    [
        ("a", "captions is 'a': pass a mapping"),
        ({}, "captions names nothing"),
        ({1: [1.0]}, "captions names 1: pass the captions as strings"),
        ({"a": [1.0, 0.0], "b": [0.0, 0.0]}, r"zero or not finite for 'b' \(1 such\)"),
        ({"a": [1.0, NAN]}, "zero or not finite for 'a'"),
        ((["a", "a"], np.eye(2)), "1 different captions, and has 2 vectors"),
        ((["a"], np.eye(2)), "1 different captions, and has 2 vectors"),
    ],
)
def test_captions_without_vectors_are_refused(captions: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GivenCaptions(captions, CPU)
