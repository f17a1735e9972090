"""What a store is of: the model and the preprocessing that made its vectors, and how they are kept."""

from __future__ import annotations

import json
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from fdgpu.checks import shown
from fdgpu.embedding.embedder import ImageEmbedder
from fdgpu.errors import InputError
from fdgpu.files import parse_json, read_file, validated, write_atomically
from fdgpu.fingerprint import weights_digest
from fdgpu.store.shard import MOST_BYTES, Floating

NAME = "_manifest.json"  # readers of Parquet pass over names that begin so
FORMAT = "fdgpu.EmbeddingStore/1"
SHARD_ROWS = 4096  # about: batches are not cut
KINDS: dict[str, Floating] = {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16)}
MOST_MANIFEST = 1 << 20
# What has to be the same for vectors to belong together, and what it is called in a sentence.
SAME = {
    "dimension": "vectors of {} numbers",
    "precision": "vectors in {}",
    "computed": "vectors that were computed in {}",
    "model": "the model {}",
    "fingerprint": "weights with the fingerprint {}",
    "preprocessing": "the preprocessing {}",
}


class Complete(BaseModel):
    """All images of a source are there: how many, and the SHA-256 of their ids and pictures in the store's order."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    images: int
    source: str


class Manifest(BaseModel):
    """The file ``_manifest.json`` of a store.

    Attributes:
        format: of the store.
        dimension: numbers of a vector.
        precision: of each of them.
        computed: in which precision the model made them; "" where nobody said.
        model: that made them, as reports show it; "" where nobody said.
        fingerprint: of its weights.
        preprocessing: of images.
        shard_rows: images of a shard; the last of a run has fewer.
        complete: set when a run has gone through all images of its source.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal["fdgpu.EmbeddingStore/1"] = "fdgpu.EmbeddingStore/1"
    dimension: int = Field(ge=1)
    precision: Literal["float32", "float16"] = "float32"
    computed: str = ""
    model: str = ""
    fingerprint: str = ""
    preprocessing: str = ""
    shard_rows: int = Field(default=SHARD_ROWS, ge=1)
    complete: Complete | None = None

    @classmethod
    def of(cls, embedder: ImageEmbedder, shard_rows: int | None = None) -> Manifest:
        """Describe the vectors that an embedder makes.

        Args:
            embedder: with a ``model`` whose weights tell it from others.
            shard_rows: images of a shard; by default about 4096, in whole batches.

        Raises:
            InputError: for an embedder without one; see :func:`keeps_apart`.
        """
        if not keeps_apart(embedder):
            raise InputError(
                f"{embedder.name} has no model whose weights tell it from others, and a store would mix up what they "
                "make: set its attribute model to the torch.nn.Module"
            )
        batch = embedder.batch_size
        return cls(
            dimension=embedder.dimension,
            precision="float16" if embedder.kept_in == torch.float16 else "float32",
            computed=str(embedder.placement.dtype).removeprefix("torch."),
            model=embedder.name,
            fingerprint=weights_digest({"model": embedder.model}),
            preprocessing=embedder.preprocessing,
            shard_rows=shard_rows or batch * max(1, round(SHARD_ROWS / batch)),
        )

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a store.

        Raises:
            InputError: if it is missing, damaged, or of something else.
        """
        path = folder / NAME
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: pass the folder of a store")
        if not path.is_file():
            raise InputError(f"{folder} is no store, it has no {NAME}: pass a folder that fdgpu embed wrote")
        try:
            found = validated(cls, parse_json(read_file(path, MOST_MANIFEST, "the manifest of a store")))
            found.check()
            return found
        except ValueError as error:
            raise InputError(f"{path} is damaged, or no manifest of {FORMAT} ({str(error)[:200]})") from None

    def check(self) -> None:
        """Check that a shard can be written.

        Raises:
            InputError: for vectors that make shards of more than 1 GiB.
        """
        if self.shard_rows * self.dimension * self.kind.itemsize > MOST_BYTES:
            raise InputError(
                f"shard_rows is {self.shard_rows:,} for vectors of {self.dimension:,} numbers: a shard holds up to "
                f"{MOST_BYTES >> 20} MiB of vectors, choose fewer"
            )

    def write(self, folder: Path) -> None:
        """Write the manifest."""
        write_atomically(
            folder / NAME, json.dumps(self.model_dump(), indent=1, ensure_ascii=False) + "\n", lasting=True
        )

    @property
    def kind(self) -> Floating:
        """Type of the vectors' numbers."""
        return KINDS[self.precision]

    @property
    def dtype(self) -> torch.dtype:
        """The same, as torch has it."""
        return torch.float16 if self.precision == "float16" else torch.float32

    @property
    def run(self) -> str:
        """What the footer of every shard says: of which run it is."""
        held = self.model_dump(exclude={"complete"})
        return sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:32]

    def refuse_other(self, other: Manifest, folder: Path) -> None:
        """Refuse vectors that do not belong to this store's.

        Raises:
            InputError: says what differs.
        """
        differ = [name for name in SAME if getattr(self, name) != getattr(other, name)]
        if not differ:
            return
        held, now = (
            "; ".join(SAME[name].format(_short(getattr(one, name))) for name in differ) for one in (self, other)
        )
        raise InputError(
            f"{folder} holds {held}, and this run has {now}: vectors of two models do not go together. Choose another "
            "folder for the store, or delete this one"
        )


def keeps_apart(embedder: ImageEmbedder) -> bool:
    """Whether an embedder has a ``model`` with weights, which tell its vectors from others."""
    model = embedder.model
    return isinstance(model, nn.Module) and any(True for _ in chain(model.parameters(), model.buffers()))


def _short(value: object) -> str:
    return shown(value) if isinstance(value, str) and len(value) != 64 else str(value)[:12]
