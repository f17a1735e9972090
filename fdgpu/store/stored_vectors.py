"""A store in the place of an embedder: its vectors are those of the images of the same ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from fdgpu.device import Placement
from fdgpu.embedding.embedder import Alongside, Embeddings, ImageEmbedder, fingerprint_of
from fdgpu.embedding.given import NamedImages
from fdgpu.embedding.opening import image_source
from fdgpu.progress import Reporter, silent
from fdgpu.store.answers_file import StoredAnswers
from fdgpu.store.embedding_store import EmbeddingStore, Ints, shared_texts


class StoredVectors(ImageEmbedder):
    """Stands for the model that made the vectors of a store.

    Args:
        store: of unit vectors, or vectors of any length.
        device: to which they go.
    """

    def __init__(self, store: EmbeddingStore, device: torch.device) -> None:
        manifest = store.manifest
        self.store, self.name, self.dimension = store, manifest.model or "stored vectors", manifest.dimension
        kind = torch.float16 if manifest.precision == "float16" else torch.float32
        self.batch_size = 256
        self.placement = Placement(
            device, kind, f"the vectors come from {store.path.name}", f"the store keeps {manifest.precision}"
        )

    @property
    def preprocessing(self) -> str:
        """What the store says."""
        return self.store.manifest.preprocessing

    def embed(
        self,
        source: object,
        progress: Reporter | None = None,
        stage: str = "embed images",  # noqa: ARG002 - nothing takes long
        *,
        fingerprint: bool = False,
        alongside: Alongside | None = None,
    ) -> Embeddings:
        """Return the vectors of images by their ids.

        Raises:
            InputError: for an image that the store has no vector of.
        """
        images = image_source(source)
        ids = list(images.ids) if images.ids is not None else [sample.id for sample in images.samples()]
        at = self.store.rows_of(ids)
        skipped = self.store.skipped.combine_chunks().take(pa.array(at))
        missing = np.flatnonzero(~np.asarray(skipped.is_null())).tolist()
        made = Embeddings(
            ids,
            self.store.rows(self.placement.device).held(at),
            {ids[row]: skipped[row].as_py() for row in missing},
            self._fingerprint(at) if fingerprint else "",
            labels=list(images.labels) if images.labels is not None else self.store.labels_of(at),
            splits=list(images.splits) if images.splits is not None else [None] * len(ids),
        )
        if alongside is not None:
            asked = StoredAnswers(self.store, alongside, images, progress or silent, self.batch_size)
            alongside.complete([asked.of_images(made, at)])
        pa.default_memory_pool().release_unused()  # of columns of all images
        return made

    def _fingerprint(self, at: Ints) -> str:
        """Return the SHA-256 of the pictures, or of the shards' vectors where nobody saw pictures."""
        every = self.store.column("picture").combine_chunks().take(pa.array(at))
        read = self.store.skipped.combine_chunks().take(pa.array(at)).is_null()
        if not pc.any(pc.and_(every.is_null(), read)).as_py():
            return fingerprint_of(np.asarray(every.drop_null()).astype(np.int64))
        shards = np.unique(np.searchsorted(self.store.starts, at, "right") - 1).tolist()
        vectors = [self.store.shards[k].about.get("vectors") for k in shards]
        return sha256(json.dumps(vectors).encode() + at.tobytes()).hexdigest()


def columns_of_store(
    store: EmbeddingStore, images: object, columns: Mapping[str, Any]
) -> tuple[object, dict[str, Any]]:
    """Take images and columns from a store, where they were not given.

    Raises:
        InputError: for a store that lacks images that it had.
    """
    own = dict(columns)
    if images is not None:
        return images, own
    store.check_complete()
    every = np.arange(len(store))
    if own["labels"] is None:
        own["labels"] = store.labels_of(every)
    if own["splits"] is None and store.splits.null_count < len(store):
        own["splits"] = shared_texts(store.splits.combine_chunks())
    if own["groups"] is None or own["groups"] == "auto":
        own["groups"] = store.groups.combine_chunks() if store.groups.null_count < len(store) else own["groups"]
    return NamedImages(store.column("id").to_pylist()), own
