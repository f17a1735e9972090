"""Kinds of arrays: what goes in comes out, on the device where it was, and nothing is copied that need not be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from fdgpu import FailureDirections
from fdgpu.arrays import finite_rows, restorer, to_numpy, to_torch
from fdgpu.errors import InputError
from tests.conftest import load_jax, make_class

RESULTS = (
    "classes_", "coef_", "directions_", "intercept_", "C_", "C_at_edge_", "cv_score_", "cv_scores_", "p_value_",
    "q_value_", "significant_", "converged_", "n_iter_", "n_samples_", "n_errors_", "n_directions_", "n_errors_of_",
    "n_permutations_", "nested_score_",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One library's arrays on one device: how to make one, and whether something is one, there."""

    make: Callable[[np.ndarray], Any]
    holds: Callable[[Any], bool]


def numpy_kind() -> Kind:
    return Kind(lambda array: array, lambda value: type(value) is np.ndarray)


def torch_kind(device: str = "cpu") -> Kind:
    def holds(value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.device.type == device

    return Kind(lambda array: torch.from_numpy(array).to(device), holds)


def jax_kind() -> Kind:
    """JAX on the second device, so that a result that went to the default one is seen."""
    jax = load_jax()
    device = jax.devices("cpu")[1]

    def holds(value: Any) -> bool:
        return isinstance(value, jax.Array) and value.devices() == {device}

    return Kind(lambda array: jax.device_put(array, device), holds)


def cupy_kind() -> Kind:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    return Kind(cupy.asarray, lambda value: isinstance(value, cupy.ndarray))


on_a_device = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
KINDS = [
    pytest.param(numpy_kind, id="numpy"),
    pytest.param(torch_kind, id="torch"),
    pytest.param(jax_kind, id="jax"),
    pytest.param(lambda: torch_kind("cuda"), id="torch on a device", marks=on_a_device),
    pytest.param(cupy_kind, id="cupy", marks=on_a_device),
]


def data(dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two classes, 5 and 9, of which only the first has errors."""
    mine, other = make_class(80, 12, 0.3, 2.0, seed=0), make_class(30, 12, 0.3, 2.0, seed=1)
    x, right = np.concatenate([mine.x, other.x]), np.concatenate([mine.right, np.ones(30, bool)])
    return x.astype(dtype), np.repeat([5, 9], [80, 30]), right


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind_of", KINDS)
def test_what_goes_in_comes_out(kind_of: Callable[[], Kind], dtype: type) -> None:
    kind, settings = kind_of(), {"n_directions": 2, "n_permutations": 9, "nested": True, "Cs": (1e-3, 1.0)}
    x, labels, right = data(dtype)
    mine = FailureDirections(**settings).fit(kind.make(x), kind.make(labels), kind.make(right), kind.make(x[:60]))
    plain = FailureDirections(**settings).fit(x, labels, right, x[:60])
    loose = {"rtol": 1e-3, "atol": 1e-3} if mine.backend_ != plain.backend_ else {"rtol": 1e-4, "atol": 1e-5}
    for name in RESULTS:
        value = getattr(mine, name)
        assert kind.holds(value), name
        if name not in ("n_iter_", "p_value_", "q_value_"):  # which two backends may count differently
            assert np.allclose(to_numpy(value, name), getattr(plain, name), **loose, equal_nan=True), name
    rows, ids = kind.make(x[70:]), kind.make(labels[70:])
    for value, expected in (
        (mine.transform(rows), plain.transform(x[70:])),
        (mine.decision_function(rows, ids), plain.decision_function(x[70:], labels[70:])),
        (mine.predict(rows, ids), plain.predict(x[70:], labels[70:])),
        (mine.score_captions(rows, kind.make(x[0]), 5), plain.score_captions(x[70:], x[0], 5)),
    ):
        assert kind.holds(value)
        assert np.allclose(to_numpy(value, "value"), expected, **loose, equal_nan=True)


def test_labels_of_another_kind_than_the_embeddings() -> None:
    x, labels, right = data()
    fit = FailureDirections().fit(torch.from_numpy(x), labels.tolist(), right)
    assert isinstance(fit.classes_, torch.Tensor)
    assert np.allclose(fit.coef_.numpy()[0], FailureDirections().fit(x, labels, right).coef_[0])


def test_bfloat16_of_jax_is_torchs() -> None:
    jax = load_jax()
    x, labels, right = data()
    half = jax.device_put(x).astype(jax.numpy.bfloat16)
    fit = FailureDirections().fit(half, labels, right)
    expected = FailureDirections().fit(torch.from_numpy(x).bfloat16(), labels, right)
    assert np.allclose(np.asarray(fit.coef_), expected.coef_, equal_nan=True)
    assert to_torch(half, "x").dtype == torch.bfloat16


def test_class_ids_that_jax_would_cut_are_not_returned() -> None:
    jax = load_jax()
    x, labels, right = data()
    fit = FailureDirections().fit(jax.device_put(x), labels + 2**40, right)
    with pytest.raises(InputError, match=r"integers up to 1099511627785, .* do not fit into JAX's int32"):
        _ = fit.classes_
    assert fit.C_.shape == (2, 1)


def test_an_array_that_lies_on_several_devices_is_refused() -> None:
    jax = load_jax()
    mesh = jax.sharding.Mesh(np.array(jax.devices("cpu")[:2]), ("rows",))
    x, labels, right = data()
    spread = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows")))
    with pytest.raises(InputError, match=r"embeddings cannot be shared with torch .*: pass an array on one device"):
        FailureDirections().fit(spread, labels, right)


@pytest.mark.parametrize("kind_of", KINDS[:3])
def test_memory_is_shared_and_left_as_it_was(kind_of: Callable[[], Kind]) -> None:
    kind = kind_of()
    x, labels, right = data()
    given = kind.make(x.copy())
    shared = to_torch(given, "x")
    assert shared.data_ptr() == to_torch(given, "x").data_ptr()
    if isinstance(given, np.ndarray):
        assert shared.data_ptr() == given.ctypes.data
    FailureDirections().fit(given, labels, right).transform(given)
    assert np.array_equal(to_numpy(given, "x"), x)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: np.asfortranarray(x),
        lambda x: x[::-1][::-1],
        lambda x: np.flip(np.flip(x, 0).copy(), 0),
        lambda x: x.astype(">f4"),
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: x.tolist(),
    ],
    ids=["column by column", "two flips", "negative strides", "big endian", "every other column", "lists"],
)
def test_numpy_arrays_of_every_layout(spoil: Callable[[np.ndarray], Any]) -> None:
    x, labels, right = data()
    fit = FailureDirections().fit(spoil(x), labels, right)
    assert np.allclose(fit.coef_, FailureDirections().fit(x, labels, right).coef_, atol=1e-5, equal_nan=True)


def test_an_array_that_may_not_be_written_to_is_not_written_to() -> None:
    x, labels, right = data()
    x.flags.writeable = False
    assert FailureDirections(whiten=False).fit(x, labels, right).converged_.all()


def test_a_tensor_in_a_graph_is_taken_as_it_is() -> None:
    x, labels, right = data()
    fit = FailureDirections().fit(torch.from_numpy(x).requires_grad_(), labels, right)
    assert not fit.coef_.requires_grad


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 2), np.longdouble), "embeddings is of type float128: pass a floating-point array"),
        (np.array([["a", "b"]]), "embeddings is of type <U1"),
        (np.array([[object()]]), "embeddings is not numeric"),
        (np.zeros((3, 2), complex), "embeddings is of type complex128"),
        (torch.zeros(3, 2, dtype=torch.complex64), "embeddings is of type torch.complex64"),
        ([[1.0], [2.0, 3.0]], "rectangular"),
        ([[10**400], [1]], "embeddings is not numeric"),
        ([[1.0], [10**400]], "embeddings (is not numeric|cannot be read)"),
        (np.ma.masked_greater(np.arange(6.0).reshape(3, 2), 3), "embeddings has 2 masked entries: fill them, or leave"),
        (np.array([[1.0, None], [2.0, 3.0]]), "embeddings has 1 missing entries"),
        (np.zeros((3, 2), "M8[s]"), r"embeddings is of type datetime64\[s\]"),
        (np.zeros(3, [("x", float), ("y", float)]), "embeddings is of type .* which has fields"),
        (np.float64(1.0), r"embeddings has shape \(\)"),
        (torch.tensor(1.0), r"embeddings has shape \(\)"),
        ({"a": 1}, "embeddings is not numeric"),
        (torch.eye(3).to_sparse(), r"embeddings is a sparse_coo tensor: pass a dense one, embeddings.to_dense\(\)"),
        (torch.empty(3, 2, device="meta"), "embeddings is on the device 'meta', which holds no numbers"),
        (torch.eye(3).to(torch.float8_e4m3fn), "embeddings is of type torch.float8_e4m3fn"),
    ],
)
def test_what_is_no_embedding_is_named(array: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FailureDirections().fit(array, np.zeros(3, int), np.ones(3, bool))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: torch.eye(3).to_sparse_csr(), "a sparse_csr tensor"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "a nested tensor"),
        (lambda: torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8), "quantized"),
    ],
    ids=["compressed", "nested", "quantized"],
)
@pytest.mark.filterwarnings("ignore")  # torch calls all of them unfinished
def test_a_tensor_whose_memory_does_not_hold_its_numbers(make: Callable[[], torch.Tensor], kind: str) -> None:
    for read in (to_torch, to_numpy):
        with pytest.raises(InputError, match=f"x is {kind}"):
            read(make(), "x")


@pytest.mark.parametrize(
    ("argument", "column", "message"),
    [
        (
            "labels",
            np.array([0, 1, 2**63], np.uint64),
            "labels holds 9223372036854775808: class ids go up",
        ),
        ("labels", torch.tensor([0, 1, 2**63 + 5], dtype=torch.uint64), "labels holds 9223372036854775813"),
        ("labels", [0, 1, 2**70], "labels is not numeric"),
        ("labels", np.array([0, 1, None]), "labels has 1 missing entries"),
        ("labels", np.ma.masked_equal([0, 1, 2], 1), "labels has 1 masked entries"),
        ("labels", torch.eye(3).to_sparse()[0], "labels is a sparse_coo tensor"),
        ("labels", torch.empty(3, device="meta", dtype=torch.int64), "labels is on the device 'meta'"),
        ("labels", np.zeros(3, [("x", int)]), "which has fields"),
        ("labels", np.zeros(3, "M8[s]"), "labels is of type datetime64"),
        ("correct", np.zeros(3, "M8[s]"), "correct is of type datetime64"),
        ("correct", np.array(["0", "1", "1"]), "correct is of type <U1"),
        ("correct", np.array([0, 1, 1j]), "correct is of type complex128"),
        ("correct", np.ma.masked_equal([0, 1, 1], 1), "correct has 2 masked entries"),
        ("reference", torch.eye(3).to_sparse(), "reference is a sparse_coo tensor"),
        ("groups", 3, "groups is 3: pass a list"),
        ("groups", "abc", "groups is 'abc': pass a list"),
        ("groups", {"a": 0, "b": 1, "c": 2}, "groups is a dict"),
        ("groups", [1.0, float("nan"), 2.0], "groups holds NaN"),
        ("groups", np.ma.masked_equal([0, 1, 1], 1), "groups has 2 masked entries"),
    ],
)
def test_what_is_no_column_is_named(argument: str, column: Any, message: str) -> None:
    given = {"embeddings": np.eye(3), "labels": [0, 0, 0], "correct": [True, False, True], argument: column}
    with pytest.raises(InputError, match=message):
        FailureDirections().fit(**given)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: np.ma.MaskedArray(x),
        lambda x: np.ma.MaskedArray(x, np.zeros_like(x, bool)),
        lambda x: x.astype(object),
        lambda x: np.rec.fromarrays([np.zeros(len(x), np.int8), x], [("a", "i1"), ("x", "f4", x.shape[1])])["x"],
        lambda x: (torch.from_numpy(-x) * 1j).conj().imag,
        lambda x: torch.from_numpy(x)[:, None, :].expand(-1, 2, -1)[:, 1],
    ],
    ids=["no mask", "an empty mask", "objects", "bytes out of step", "negated lazily", "an expanded view"],
)
def test_an_array_is_what_its_numbers_are(spoil: Callable[[np.ndarray], Any]) -> None:
    x, labels, right = data()
    assert np.array_equal(np.asarray(to_torch(spoil(x), "x")), x)
    assert np.array_equal(to_numpy(spoil(x), "x"), x)
    expected = FailureDirections().fit(x, labels, right)
    assert np.allclose(FailureDirections().fit(spoil(x), labels, right).coef_, expected.coef_, equal_nan=True)


def test_columns_of_pythons_own_objects() -> None:
    x, labels, right = data()
    fit = FailureDirections().fit(x, labels.astype(object), right.astype(object))
    assert fit.classes_.tolist() == [5, 9]


def test_rows_that_are_not_finite_are_counted_and_the_first_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fdgpu.arrays.ROWS_AT_ONCE", 3)
    rows = torch.zeros(10, 3)
    rows[4, 1], rows[7] = torch.inf, torch.nan
    with pytest.raises(InputError, match="x holds NaN or infinity in 2 of 10 rows, the first is row 4"):
        finite_rows(rows, "x")
    finite_rows(
        torch.full((2, 3), torch.finfo(torch.float64).max, dtype=torch.float64), "x"
    )  # a sum overflows, no entry
    finite_rows(torch.zeros(0, 3), "x")


def test_cupy_arrays_come_back_on_the_callers_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in that notes on which device an array is made; ``-m gpu`` runs the real one."""

    class Device:
        current = 0

        def __init__(self, number: int) -> None:
            self.number = number

        def __enter__(self) -> None:
            Device.current = self.number

        def __exit__(self, *_: object) -> None:
            Device.current = 0

    @dataclass
    class Array:
        host: np.ndarray
        device: Device

    Array.__module__ = "cupy"
    cupy = ModuleType("cupy")
    cupy.asarray = lambda host: Array(host, Device(Device.current))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    restored = restorer(Array(np.zeros(3), Device(1)))(torch.arange(3))
    assert isinstance(restored, Array)
    assert restored.device.number == 1
    assert restored.host.tolist() == [0, 1, 2]
    assert Device.current == 0
