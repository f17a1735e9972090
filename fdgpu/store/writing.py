"""Writing a store: one writer at a time, each shard whole or not at all, beside the work of the device."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.arrays import coming_down, rows_finite, to_device
from fdgpu.embedding.classifier import KEPT, AnswerPart
from fdgpu.errors import InputError
from fdgpu.files import UNFINISHED, unwritable
from fdgpu.store.manifest import Manifest
from fdgpu.store.shard import fixed_rows, texts, write_shard

AHEAD = 1  # shards that wait to be written, before the device waits for the disk: a kill costs these too
SINK = "the store's sink"
ANSWERS = "_answers"  # the folder of what classifiers said
NOT_FINITE = "its embedding is not finite"


@dataclass(frozen=True)
class Piece:
    """What there is of b images in a row; of one shard, or of a part of it.

    ``vectors`` (b, d) and ``pictures`` (b,) int64 are where they were made, and mean nothing where an image was not
    read; ``skipped`` says why. ``pictures`` is None for vectors that somebody else made. ``treated`` is what was done
    to an image, in words; ``answers`` what a classifier said.
    """

    ids: Sequence[str]
    vectors: Tensor
    labels: Sequence[object]
    splits: Sequence[str | None]
    groups: Sequence[object]
    skipped: Sequence[str | None]
    treated: Sequence[str | None]
    stamps: Sequence[str | None]
    pictures: Tensor | None
    answers: AnswerPart | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, first: int, last: int) -> Piece:
        """Return some of the images."""
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "answers"}
        cut = {name: column[first:last] for name, column in own.items() if column is not None}
        return replace(self, **cut, answers=None if self.answers is None else self.answers.part(first, last))

    @classmethod
    def joined(cls, pieces: Sequence[Piece]) -> Piece:
        """Put pieces one after the other, where the vectors are."""
        if len(pieces) == 1:
            return pieces[0]
        device, pictures = pieces[0].vectors.device, [one.pictures for one in pieces if one.pictures is not None]
        answers = [one.answers for one in pieces if one.answers is not None]
        listed = ("ids", "labels", "splits", "groups", "skipped", "treated", "stamps")
        return cls(
            **{name: [entry for one in pieces for entry in getattr(one, name)] for name in listed},
            vectors=torch.cat([one.vectors for one in pieces]),
            pictures=torch.cat([to_device(one, device) for one in pictures]) if pictures else None,
            answers=AnswerPart.joined(answers) if answers else None,
        )


class Writer:
    """Takes what comes of images, and writes a shard whenever there is one.

    Args:
        folder: of the store.
        manifest: of it.
        taken: numbers of the shards that are there.
        answers: what the folder of the classifier's answers is called, where one is asked.
    """

    def __init__(self, folder: Path, manifest: Manifest, taken: Sequence[int], answers: str = "") -> None:
        self.folder, self.manifest, self.answers = folder, manifest, answers
        gone = frozenset(taken)
        self.numbers = (number for number in count() if number not in gone)
        self._pieces: list[Piece] = []
        self._waiting = 0  # images of them
        self._pool = ThreadPoolExecutor(1, "store")
        self._writes: list[Future[None]] = []

    def add(self, piece: Piece) -> None:
        """Take further images; full shards are written by a thread."""
        self._pieces.append(piece)
        self._waiting += len(piece)
        rows = self.manifest.shard_rows
        if self._waiting < rows:
            return
        whole, rest = Piece.joined(self._pieces), self._waiting % rows
        for first in range(0, self._waiting - rest, rows):
            self.write(next(self.numbers), whole.part(first, first + rows))
        self._pieces, self._waiting = [whole.part(self._waiting - rest, self._waiting)], rest

    def write(self, number: int, shard: Piece) -> None:
        """Write a shard under a number; a thread does, and the device does not wait for it.

        Raises:
            InputError: if an earlier one could not be written.
        """
        finite = rows_finite(shard.vectors)
        vectors = shard.vectors.masked_fill(~finite[:, None], 0.0).to(self.manifest.dtype)
        pictures = torch.empty(0, dtype=torch.int64) if shard.pictures is None else shard.pictures
        coming = [coming_down(one, SINK) for one in (vectors, finite, pictures)]
        said = None if shard.answers is None else answers_coming(shard.answers)
        self._settle(AHEAD)
        self._writes.append(self._pool.submit(self._write, number, shard, coming, said))

    def finish(self) -> None:
        """Write what is left, and wait until all is on the disk."""
        if self._waiting:
            self.write(next(self.numbers), Piece.joined(self._pieces))
        self._pieces, self._waiting = [], 0
        self._settle(0)

    def close(self) -> None:
        """Write what was handed over, whatever happened; what is less than a shard is lost."""
        self._pool.shutdown(wait=True)

    def _settle(self, most: int) -> None:
        while len(self._writes) > most or (self._writes and self._writes[0].done()):
            self._writes.pop(0).result()

    def _write(
        self,
        number: int,
        shard: Piece,
        coming: Sequence[Callable[[], NDArray[Any]]],
        said: Callable[[], AnswerTable] | None,
    ) -> None:
        vectors, finite, pictures = (np.ascontiguousarray(arrived()) for arrived in coming)
        skipped = [
            reason or (None if there else NOT_FINITE)
            for reason, there in zip(shard.skipped, finite.tolist(), strict=True)
        ]
        unread = np.array([reason is not None for reason in shard.skipped], bool)
        label_kind, labels = labels_as_text(shard.labels)
        columns = {
            "id": texts(shard.ids),
            "vector": fixed_rows(vectors),
            "label": labels,
            "split": texts(shard.splits),
            "group": texts([None if one is None else str(one) for one in shard.groups]),
            "skipped": texts(skipped),
            "treated": texts(shard.treated),
            "picture": pa.nulls(len(shard), pa.int64()) if shard.pictures is None else pa.array(pictures, mask=unread),
            "stamp": texts(shard.stamps),
        }
        name, ids = f"{number:05d}.parquet", columns["id"]
        about = {"run": self.manifest.run, "labels": label_kind, "vectors": sha256(vectors.data).hexdigest()}
        write_shard(self.folder / name, columns, ("vector",), about)
        if said is not None:
            of = digest_of(ids, columns["picture"])
            write_answers(self.folder / ANSWERS / self.answers / name, ids, said(), self.manifest.run, of)


def plain_label(label: object) -> object:
    """Return a label as Python has it: NumPy's numbers and tensors as numbers and lists."""
    return label.tolist() if hasattr(label, "tolist") else label


def labels_as_text(labels: Sequence[object]) -> tuple[str, pa.Array]:
    """Return labels as a column of text, and how it is to be read: as a name, or as JSON for anything else.

    Raises:
        InputError: for what JSON does not hold.
    """
    own: list[Any] = [plain_label(label) for label in labels]
    names = all(label is None or isinstance(label, str) for label in own)
    try:
        text = own if names else [None if label is None else json.dumps(label) for label in own]
    except (TypeError, ValueError) as error:
        raise InputError(f"labels cannot be stored ({error}): give names, ids, or lists of 0 and 1") from None
    return "name" if names else "json", texts(text)


def digest_of(ids: pa.Array, pictures: pa.Array) -> str:
    """Return the SHA-256 of images, by their ids and the checksums of their pictures."""
    digest = sha256(json.dumps(ids.to_pylist()).encode())
    digest.update(np.asarray(pictures.fill_null(0)).tobytes())
    return digest.hexdigest()


# --- what a classifier said -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AnswerTable:
    """Answers on the host; see :class:`AnswerPart`."""

    rows: NDArray[np.float64]
    true: NDArray[Any]
    scores: NDArray[np.float32] | None
    outputs: int = 0

    def with_answer(self, at: int, of: AnswerTable, i: int) -> AnswerTable:
        """Write the answer ``i`` of another table to the place ``at``."""
        self.rows[:, at], self.true[at] = of.rows[:, i], of.true[i]
        if of.scores is None:
            return self if self.outputs else replace(self, outputs=of.outputs)
        scores = self.scores
        if scores is None:
            scores = np.full((len(self.true), of.scores.shape[1]), np.nan, np.float32)
        scores[at] = of.scores[i]
        return replace(self, scores=scores, outputs=of.outputs)


def answers_coming(part: AnswerPart) -> Callable[[], AnswerTable]:
    """Begin to bring answers down; what is returned waits for them."""
    rows = coming_down(part.rows, SINK)
    scores = None if part.scores is None else coming_down(part.scores, SINK)
    return lambda: AnswerTable(rows(), part.true, None if scores is None else scores(), part.outputs)


def write_answers(path: Path, ids: pa.Array, table: AnswerTable, run: str, of: str) -> None:
    """Write what a classifier said of the images of a shard, row by row; ``of`` is the digest of these."""
    columns: dict[str, pa.Array] = {"id": ids}
    lists = []
    for name, row in zip(KEPT, table.rows, strict=True):
        columns[name] = pa.array(row.astype(np.int32) if name == "prediction" else row)
    for name, rows in (("true", table.true), ("scores", table.scores)):
        if rows is not None and rows.ndim == 2:
            columns[name] = fixed_rows(rows)
            lists.append(name)
        elif rows is not None:
            columns[name] = pa.array(rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None
    write_shard(path, columns, lists, {"run": run, "of": of, "outputs": table.outputs})


# --- one at a time ----------------------------------------------------------------------------------------------------


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Be the only one who writes into a store; what a killed writer left half done is removed.

    Raises:
        InputError: if another process writes into it, or it may not be written.
    """
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{folder} is being written by another run: wait for its end, or choose another folder"
            ) from None
        except OSError:  # a file system without locks
            pass
        if not os.access(folder, os.W_OK | os.X_OK):
            raise unwritable(folder, PermissionError(13, os.strerror(13)))
        for left in folder.rglob(f".*{UNFINISHED}"):
            with suppress(OSError):
                left.unlink()
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_UN)
        os.close(held)
