"""Files of a fit that were damaged, by accident or on purpose: each is refused by name, or is what it says."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu import FailureDirections
from fdgpu.errors import InputError
from tests.directions.test_estimator import three_classes

DTYPES = {"F64": np.float64, "F32": np.float32, "I64": np.int64, "BOOL": np.bool_}
Document = dict[str, Any]  # the header, as JSON gives it


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of three classes, one of which has no direction."""
    x, labels, right, _ = three_classes()
    path = tmp_path_factory.mktemp("fit") / "whole.safetensors"
    FailureDirections(Cs=(0.01, 1.0), n_permutations=5).fit(x, labels, right).save(path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "fit.safetensors"


def parts_of(content: bytes) -> tuple[Document, bytes]:
    """The header and the arrays' bytes, read without the library."""
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def joined(header: Document, payload: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + payload


def arrays_in(content: bytes) -> dict[str, np.ndarray]:
    header, payload = parts_of(content)
    return {
        name: np.frombuffer(payload[slice(*entry["data_offsets"])], DTYPES[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def load(path: Path, content: bytes) -> FailureDirections | str:
    """The fit, or why it was refused; no other error, and nothing that is not in the file."""
    path.write_bytes(content)
    try:
        fit = FailureDirections.load(path)
    except InputError as error:
        message = str(error)
        assert message.startswith(f"{path} is damaged or not a fit of ")
        assert len(message) < len(str(path)) + 450
        return message
    for name, array in arrays_in(content).items():
        if not name.startswith("whitening"):
            mine = getattr(fit, f"{'n_samples' if name == 'n' else name}_")
            np.testing.assert_array_equal(mine, array)
    d = fit.coef_.shape[-1]
    assert fit.transform(np.ones((2, d))).shape == (2, d)
    assert fit.decision_function(np.ones((2, d)), np.resize(fit.classes_, 2)).shape == (2,)
    return fit


def test_the_file_itself(whole: bytes, path: Path) -> None:
    assert isinstance(load(path, whole), FailureDirections)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, derandomize=True)
@given(st.data())
def test_bytes_that_have_changed(whole: bytes, path: Path, data: st.DataObject) -> None:
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, 400) | st.integers(0, len(content) - 1))
        change = data.draw(st.sampled_from(["set", "flip", "cut", "insert", "zero"]))
        if change == "set":
            content[at] = data.draw(st.integers(0, 255))
        elif change == "flip":
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif change == "cut":
            del content[at : at + data.draw(st.integers(1, 2000))]
        elif change == "insert":
            content[at:at] = data.draw(st.binary(min_size=1, max_size=30))
        else:
            content[at : at + 8] = bytes(8)
        content = content or bytearray(1)
    load(path, bytes(content))


@settings(max_examples=300, derandomize=True)
@given(st.data())
def test_headers_that_say_something_else(whole: bytes, path: Path, data: st.DataObject) -> None:
    header, payload = parts_of(whole)
    name = data.draw(st.sampled_from(sorted(header)))
    if name == "__metadata__":
        entry = data.draw(st.sampled_from(sorted(header[name])))
        if entry == "parameters":
            parameters = json.loads(header[name][entry])
            parameters[data.draw(st.sampled_from(sorted(parameters)))] = data.draw(JSON)
            header[name][entry] = json.dumps(parameters)
        else:
            header[name][entry] = data.draw(st.text(max_size=30) | JSON.map(json.dumps))
    else:
        key = data.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))
        choices = {
            "dtype": st.sampled_from(["F64", "F32", "F16", "BF16", "I64", "U64", "BOOL", "F8_E4M3", "C64", "X"]),
            "shape": st.lists(st.integers(-1, 40) | st.just(2**63), max_size=4),
            "data_offsets": st.lists(st.integers(-1, len(payload) + 9), min_size=1, max_size=3),
        }
        header[name][key] = data.draw(choices[key] | JSON)
    load(path, joined(header, payload))


@settings(max_examples=200, derandomize=True)
@given(st.data())
def test_arrays_that_hold_something_else(whole: bytes, path: Path, data: st.DataObject) -> None:
    header, payload = parts_of(whole)
    name = data.draw(st.sampled_from(sorted(set(header) - {"__metadata__"})))
    array = arrays_in(whole)[name].copy()
    odd = (
        [np.nan, np.inf, -np.inf, -1.0, 0.0, 5e-324, 1e300, 2.0]
        if array.dtype.kind == "f"
        else [-1, 0, 2**62, -(2**63)]
    )
    with np.errstate(over="ignore"):
        array.reshape(-1)[data.draw(st.integers(0, array.size - 1))] = data.draw(st.sampled_from(odd))
    start, stop = header[name]["data_offsets"]
    load(path, joined(header, payload[:start] + array.tobytes() + payload[stop:]))


def changed_header(change: Callable[[Document], object]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        header, payload = parts_of(content)
        change(header["__metadata__"])
        return joined(header, payload)

    return changed


def changed_array(name: str, change: Callable[[np.ndarray], object]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        header, payload = parts_of(content)
        array = arrays_in(content)[name].copy()
        change(array)
        start, stop = header[name]["data_offsets"]
        return joined(header, payload[:start] + array.tobytes() + payload[stop:])

    return changed


def put(at: Any, value: object) -> Callable[[np.ndarray], None]:
    return lambda array: array.__setitem__(at, value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (changed_header(lambda h: h.update(format="fdgpu.FailureDirections/9")), "format"),
        (changed_header(lambda h: h.pop("status")), "status"),
        (changed_header(lambda h: h.update(status='["ok"]')), "classes is I64"),
        (changed_header(lambda h: h.update(status='["fine", "ok", "ok"]')), "status.0"),
        (changed_header(lambda h: h.update(solver='["gram"]')), "a solver and a reason for each class"),
        (changed_header(lambda h: h.update(backend='["magic", ""]')), "backend.0"),
        (changed_header(lambda h: h.update(parameters="{}")), "expected the parameter Cs, cv"),
        (changed_header(lambda h: h.update(parameters="[" * 100_000)), "nested too deeply"),
        (changed_header(lambda h: h.update(parameters='{"cv": 2, "cv": 3}')), "has a key twice, 'cv'"),
        (changed_header(lambda h: h.update(parameters=h["parameters"].replace('"cv": 2', '"cv": 1'))), "cv is 1"),
        (changed_header(lambda h: h.update(parameters=h["parameters"].replace('"cv": 2', '"cv": "2"'))), "cv is '2'"),
        (changed_header(lambda h: h.update(parameters=h["parameters"].replace("auto", "magic"))), "backend is 'magic'"),
        (changed_header(lambda h: h.update(parameters="9" * 5000)), "integer string conversion|digits"),
        (changed_array("classes", put(0, 10**6)), "classes that ascend"),
        (changed_array("classes", put(1, 0)), "classes that ascend"),
        (changed_array("whitening_scale", put(3, 0.0)), "scales that are finite and above 0"),
        (changed_array("whitening_scale", put(3, np.nan)), "scales that are finite and above 0"),
        (changed_array("whitening_mean", put(0, np.inf)), "a whitening mean that is finite"),
        (changed_array("coef", put((0, 0, 0), np.nan)), "coef of each direction"),
        (changed_array("C", put((0, 0), 0.5)), "a C of the grid"),
        (changed_array("cv_score", put((0, 0), 1.5)), "cv_score from 0 to 1"),
        (changed_array("n_errors", put(0, 10**6)), "no more errors than samples"),
        (changed_array("n_directions", put(0, 0)), "directions where the status is"),
        (changed_array("n_directions", put(0, 9)), "no more directions than were looked for"),
        (changed_array("n", put(0, -4)), "n_samples from 0"),
    ],
)
def test_what_was_expected_is_said(spoil: Callable[[bytes], bytes], message: str, whole: bytes, path: Path) -> None:
    path.write_bytes(spoil(whole))
    with pytest.raises(InputError, match=message):
        FailureDirections.load(path)


@pytest.mark.parametrize("name", ["coef", "classes", "whitening_scale", "p_value"])
def test_an_array_that_is_missing_or_of_another_shape(name: str, whole: bytes, path: Path) -> None:
    header, payload = parts_of(whole)
    shape = header[name]["shape"]
    path.write_bytes(joined(header | {name: header[name] | {"shape": [*shape, 1]}}, payload))
    with pytest.raises(InputError, match=rf"{name} is \w+ \[.*, 1\], the header makes it|whitening_mean is"):
        FailureDirections.load(path)
    header["other"] = header.pop(name)
    path.write_bytes(joined(header, payload))
    with pytest.raises(InputError, match=f"there is no array '{name}'"):
        FailureDirections.load(path)
