"""Both versions of CIFAR give the same tensors; a pickle that names anything but arrays is refused."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from benchmarks.paper.files import pickled
from benchmarks.paper.files.cifar import cifar10, cifar100, cifar100_names
from benchmarks.paper.files.pickled import read_pickled
from fdgpu.errors import FdgpuWarning, InputError
from tests.benchmarks.paper.files.tiny import noise, write_as_python_2, write_binary, write_pickled

COARSE, FINE = [f"coarse_{i}" for i in range(20)], [f"fine_{i}" for i in range(100)]
BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def python10(folder: Path, images: Tensor) -> None:
    for number, name in enumerate(BATCHES):
        write_pickled(folder / "cifar-10-batches-py" / name, images[2 * number :][:2], labels=[number, 9 - number])


def old_python10(folder: Path, images: Tensor) -> None:
    for number, name in enumerate(BATCHES):
        path = folder / "cifar-10-batches-py" / name
        write_as_python_2(path, images[2 * number :][:2], "labels", [number, 9 - number])


def binary10(folder: Path, images: Tensor) -> None:
    for number, name in enumerate(BATCHES):
        path = folder / "cifar-10-batches-bin" / f"{name}.bin"
        write_binary(path, images[2 * number :][:2], [number, 9 - number])


def python100(folder: Path, images: Tensor) -> None:
    for name, rows in (("train", slice(0, 3)), ("test", slice(3, 5))):
        own = images[rows]
        fine, coarse = [99, 5, 0][: len(own)], [19, 1, 0][: len(own)]
        write_pickled(folder / "cifar-100-python" / name, own, fine_labels=fine, coarse_labels=coarse)
    content = {b"fine_label_names": FINE, b"coarse_label_names": COARSE}
    (folder / "cifar-100-python" / "meta").write_bytes(pickle.dumps(content, 2))


def binary100(folder: Path, images: Tensor) -> None:
    root = folder / "cifar-100-binary"
    write_binary(root / "train.bin", images[:3], [19, 1, 0], [99, 5, 0])
    write_binary(root / "test.bin", images[3:5], [19, 1], [99, 5])
    (root / "fine_label_names.txt").write_text("\n".join(FINE) + "\n")
    (root / "coarse_label_names.txt").write_text("\n".join(COARSE) + "\n")


@pytest.mark.parametrize("write", [python10, old_python10, binary10])
def test_cifar10(write: Callable[[Path, Tensor], None], tmp_path: Path) -> None:
    images = noise(12)
    write(tmp_path, images)
    splits = cifar10(tmp_path)
    assert torch.equal(splits["train"].images, images[:10])
    assert torch.equal(splits["test"].images, images[10:])
    assert splits["train"].labels.tolist() == splits["train"].kinds.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert splits["test"].labels.tolist() == [5, 4]
    assert not splits["train"].minority.any()


@pytest.mark.parametrize("write", [python100, binary100])
def test_cifar100_has_superclasses_as_labels_and_subclasses_as_kinds(
    write: Callable[[Path, Tensor], None], tmp_path: Path
) -> None:
    images = noise(5)
    write(tmp_path, images)
    splits = cifar100(tmp_path)
    assert torch.equal(splits["train"].images, images[:3])
    assert torch.equal(splits["test"].images, images[3:])
    assert (splits["train"].labels.tolist(), splits["train"].kinds.tolist()) == ([19, 1, 0], [99, 5, 0])
    assert (splits["test"].labels.tolist(), splits["test"].kinds.tolist()) == ([19, 1], [99, 5])
    names = cifar100_names(tmp_path)
    assert (names.coarse, names.fine) == (tuple(COARSE), tuple(FINE))


@pytest.mark.parametrize(
    ("write", "read", "name"),
    [
        (python10, cifar10, "cifar-10-batches-py/data_batch_4"),
        (binary10, cifar10, "cifar-10-batches-bin/test_batch.bin"),
        (python100, cifar100, "cifar-100-python/test"),
        (python100, cifar100_names, "cifar-100-python/meta"),
        (binary100, cifar100, "cifar-100-binary/train.bin"),
        (binary100, cifar100_names, "cifar-100-binary/fine_label_names.txt"),
    ],
)
def test_a_missing_file_is_named_with_the_place_to_get_it(
    write: Callable[[Path, Tensor], None], read: Callable[[Path], object], name: str, tmp_path: Path
) -> None:
    write(tmp_path, noise(12))
    (tmp_path / name).unlink()
    with pytest.raises(InputError, match=rf"{name} is missing: get it from https://www\.cs\.toronto\.edu/~kriz/"):
        read(tmp_path)


def test_a_folder_without_cifar_names_both_versions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cifar-10-batches-py or .*cifar-10-batches-bin is missing: get it from"):
        cifar10(tmp_path)
    with pytest.raises(InputError, match=r"cifar-100-python or .*cifar-100-binary is missing: get it from"):
        cifar100_names(tmp_path)


class Command:
    """What an evil file would run."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    python100(tmp_path, noise(5))
    ran = tmp_path / "ran"
    (tmp_path / "cifar-100-python" / "train").write_bytes(pickle.dumps({"data": Command(f"touch {ran}")}, 2))
    with pytest.raises(InputError, match=r"cifar-100-python/train: expected a batch .*system, which no batch needs"):
        cifar100(tmp_path)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": np.zeros((1, 3072), np.uint8), "fine_labels": [1]}, "an entry 'coarse_labels'"),
        ({"data": np.zeros((1, 3000), np.uint8), "fine_labels": [1], "coarse_labels": [1]}, "data of .n, 3072. bytes"),
        ({"data": np.zeros((1, 3072)), "fine_labels": [1], "coarse_labels": [1]}, "a batch .*an array of type 'f8'"),
        ({"data": np.zeros((1, 3072), np.int64), "fine_labels": [1], "coarse_labels": [1]}, "data of .n, 3072. bytes"),
        ({"data": np.zeros((1, 3072), np.uint8), "fine_labels": [None], "coarse_labels": [1]}, "whole numbers in fine"),
        (
            {"data": np.zeros((1, 3072), np.uint8), "fine_labels": [2**70], "coarse_labels": [1]},
            "whole numbers in fine",
        ),
        ({"data": np.zeros((1, 3072), np.uint8), "fine_labels": {}, "coarse_labels": [1]}, "whole numbers in fine"),
        ({"data": np.zeros((1, 3072), np.uint8), "fine_labels": [1, 2], "coarse_labels": [1]}, "1 labels, one an"),
        ({"data": np.zeros((1, 3072), np.uint8), "fine_labels": [1], "coarse_labels": [20]}, "labels from 0 to 19"),
        ([1], "a dictionary, found list"),
    ],
)
def test_a_batch_that_holds_something_else_is_named(content: object, message: str, tmp_path: Path) -> None:
    python100(tmp_path, noise(5))
    (tmp_path / "cifar-100-python" / "train").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(InputError, match=f"cifar-100-python/train: expected {message}"):
        cifar100(tmp_path)


def text(value: bytes) -> bytes:
    return b"U" + bytes([len(value)]) + value


EMPTY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
U1 = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
OBJECTS = b"cnumpy\ndtype\n" + text(b"O8") + b"K\x00K\x01\x87R"
PLAIN = b"(K\x03" + text(b"|") + b"NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb"
OBJECT_FLAGS = b"(K\x03" + text(b"|") + b"NNNK\x08K\x08K?tb"  # an item of 8 bytes that is a pointer
OF_FIELDS = b"(K\x03" + text(b"|") + b"N" + text(b"x") + b"\x85}" + text(b"x") + b"K\x00s" + b"K\x08K\x08K\x00tb"
STATE = b"(K\x01K\x08\x85" + U1 + PLAIN + b"I00\n" + text(b"AAAAAAAA") + b"tb"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (EMPTY + b"(K\x01K\x01\x85" + U1 + OBJECT_FLAGS + b"I00\n" + text(b"AAAAAAAA") + b"tb", "a state of its own"),
        (EMPTY + b"(K\x01K\x01\x85" + U1 + OF_FIELDS + b"I00\n" + text(b"AAAAAAAA") + b"tb", "a state of its own"),
        (EMPTY + b"(K\x01K\x01\x85" + OBJECTS + b"I00\n" + text(b"AAAAAAAA") + b"tb", "an array of type 'O8'"),
        (EMPTY + b"(K\x01K\x09\x85" + U1 + PLAIN + b"I00\n" + text(b"AAAAAAAA") + b"tb", "content is not of its shape"),
        (EMPTY + b"(K\x01J\xf8\xff\xff\xff\x85" + U1 + PLAIN + b"I00\n" + text(b"AAAAAAAA") + b"tb", "another layout"),
        (EMPTY + b"(K\x01K\x08\x85NI00\n" + text(b"AAAAAAAA") + b"tb", "another layout"),
        (EMPTY + b"Nb", "an array without its five parts"),
        (b"cnumpy\ndtype\n}b", "a state for what has none"),
        (b"c_codecs\nencode\nN}" + text(b"_make") + b"Ns\x86b", "a state for what has none"),
        (b"r\xff\xff\xff\x7f", "found"),  # a memo of 2^31 entries
        (b"\x8e" + (2**40).to_bytes(8, "little"), "found"),  # a string of a terabyte
        (b"(" * 5, "found"),
        (b"\x82\x01", "found"),  # an extension's code
    ],
)
def test_a_pickle_that_was_crafted_byte_by_byte(value: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "crafted"
    path.write_bytes(b"\x80\x02}" + text(b"data") + value + b"s.")
    with pytest.raises(InputError, match=f"crafted: expected a batch of CIFAR's python version, .*{message}"):
        read_pickled(path)
    path.write_bytes(b"\x80\x02}" + text(b"data") + EMPTY + STATE + b"s.")
    assert read_pickled(path)["data"].tolist() == [65] * 8  # as before: nothing was changed for the next file


@settings(max_examples=300, derandomize=True)
@given(st.data())
def test_a_pickle_of_which_bytes_have_changed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "changed"
    content = bytearray(b"\x80\x02}" + text(b"data") + EMPTY + STATE + b"s" + text(b"labels") + b"](K\x01K\x02es.")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        content = content or bytearray(b".")
    path.write_bytes(content)
    with suppress(InputError):
        assert isinstance(read_pickled(path), dict)


def test_a_whole_batch_is_compared_with_the_published_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled, "WHOLE", 100)
    path = tmp_path / "data_batch_1"
    write_pickled(path, noise(2), labels=[1, 2])
    with pytest.warns(FdgpuWarning, match="not the file that was published .*, not c99cafc152244af753f735de768cd75f"):
        read_pickled(path)


@pytest.mark.parametrize("write", [python10, binary10])
def test_a_batch_that_is_cut_off_is_named(write: Callable[[Path, Tensor], None], tmp_path: Path) -> None:
    write(tmp_path, noise(12))
    path = next(tmp_path.glob("*/data_batch_3*"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"data_batch_3.*: expected .* cut off"):
        cifar10(tmp_path)
