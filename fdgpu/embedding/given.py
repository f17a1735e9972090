"""Vectors that somebody else made, of images and of captions: nothing is embedded, and they stay where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fdgpu.arrays import Array, rows_finite, to_device, to_host, to_torch
from fdgpu.checks import shown
from fdgpu.device import Choice, Placement
from fdgpu.embedding.embedder import (
    Alongside,
    Embeddings,
    ImageEmbedder,
    checksums,
    fingerprint_of,
    sums_on_host,
)
from fdgpu.embedding.loading import Sample, Shown
from fdgpu.embedding.opening import image_source
from fdgpu.embedding.sources import ImageSource
from fdgpu.errors import InputError
from fdgpu.progress import Reporter, silent

GIVEN = "given vectors"
ZERO = "its vector is zero"


class NamedImages(ImageSource):
    """Images of which there is nothing but their ids."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids: list[str] = list(ids)
        self.count = len(self.ids)

    def samples(self) -> Iterator[Sample]:
        """Yield ids, and no picture."""
        return (Sample(own, None) for own in self.ids)

    def pictures(self, rows: Sequence[int], side: int) -> list[Shown | None]:  # noqa: ARG002 - there is none of any size
        """Return that there is none."""
        return [None] * len(rows)


class GivenVectors(ImageEmbedder):
    """Stands for the embedder of vectors (n, d) that are there already.

    Args:
        vectors: (n, d) of the images in their order, of any length but 0, where they lie.
        name: of the model that made them, as reports show it.

    Raises:
        InputError: for another shape.

    Example:
        >>> given = GivenVectors(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        >>> embeddings = given.embed(NamedImages(["a", "b"]))
        >>> embeddings.vectors[0].tolist(), embeddings.unreadable
        ([0.6000000238418579, 0.800000011920929], {'b': 'its vector is zero'})
    """

    def __init__(self, vectors: Array, name: str = GIVEN) -> None:
        self._vectors = _rows(vectors, "embeddings")
        kind = str(self._vectors.dtype).removeprefix("torch.")
        self.name, self.dimension, self.batch_size = name, self._vectors.shape[1], 256
        self.placement = Placement(
            self._vectors.device,
            self._vectors.dtype,
            "where the vectors were given",
            f"the vectors were given in {kind}",
        )

    kept_in = torch.float32  # they become unit vectors anew

    @property
    def preprocessing(self) -> str:
        """Nothing: that is not known."""
        return ""

    def __len__(self) -> int:
        return len(self._vectors)

    def embed(
        self,
        source: object,
        progress: Reporter | None = None,
        stage: str = "embed images",
        *,
        fingerprint: bool = False,
        alongside: Alongside | None = None,
    ) -> Embeddings:
        """Return the vectors as unit vectors; an image is looked at only for a model that goes ``alongside``."""
        images = image_source(source)
        if alongside is None:
            samples = list(images.samples())
            made = Embeddings([one.id for one in samples], torch.empty(0), {})
            made.labels.extend(one.label for one in samples)
            made.splits.extend(one.split for one in samples)
        else:
            made = self._passed(images, alongside, progress or silent, stage)
        if len(made.ids) != len(self._vectors):
            raise InputError(
                f"embeddings has {len(self._vectors)} rows, there are {len(made.ids)} images: pass one vector an image"
            )
        rows = self._vectors.float()
        is_zero = (rows == 0).all(dim=1)
        unread = torch.tensor([own in made.unreadable for own in made.ids])
        none = is_zero | to_device(unread, rows.device)
        vectors = torch.where(none[:, None], torch.nan, F.normalize(rows, dim=1))
        zero = to_host(is_zero, "which of the given vectors are zero")
        unreadable = {own: ZERO for own, there in zip(made.ids, zero, strict=True) if there} | made.unreadable
        seen = fingerprint_of(sums_on_host([checksums(vectors)])) if fingerprint else ""
        return replace(made, vectors=vectors, unreadable=unreadable, fingerprint=seen)

    def _passed(self, images: ImageSource, alongside: Alongside, report: Reporter, stage: str) -> Embeddings:
        made = Embeddings([], torch.empty(0), {})
        report(stage, 0, images.count)
        answers = []
        for batch in images.batches(self.batch_size, alongside.view):
            start = len(made.ids)
            answers.append(alongside.take(batch.views[0], batch, range(start, start + len(batch.ids))))
            made.add(batch)
            report(stage, len(made.ids), images.count)
        alongside.complete(answers)
        return made


class GivenCaptions:
    """Reads captions by looking their vectors up.

    Args:
        captions: a mapping of caption to vector (d,), or m captions and their vectors (m, d).
        device: of the images' vectors, to which these go.

    Raises:
        InputError: for anything else, or a vector that is zero or not finite.
    """

    unread = "have no vector among captions"

    def __init__(self, captions: object, device: torch.device) -> None:
        if isinstance(captions, Mapping):
            texts, vectors = list(captions), list(captions.values())
        elif isinstance(captions, (tuple, list)) and len(captions) == 2:
            texts, vectors = captions
        else:
            raise InputError(
                f"captions is {shown(captions)}: pass a mapping of caption to vector, or (captions, vectors (m, d))"
            )
        self.listed = tuple(texts)
        odd = [text for text in self.listed if not isinstance(text, str)]
        if odd or not self.listed:
            raise InputError(f"captions names {shown(odd[0]) if odd else 'nothing'}: pass the captions as strings")
        rows = to_device(_rows(vectors, "captions"), device).float()
        self._row = {text: row for row, text in enumerate(self.listed)}
        if len(rows) != len(self.listed) or len(self._row) < len(self.listed):
            raise InputError(
                f"captions names {len(self._row)} different captions, and has {len(rows)} vectors: pass each once"
            )
        usable = rows_finite(rows) & (rows != 0).any(dim=1)
        bad = np.flatnonzero(~to_host(usable, "which captions have a vector"))
        if len(bad):
            raise InputError(
                f"captions holds a vector that is zero or not finite for {shown(self.listed[bad[0]])} ({len(bad)} "
                "such): leave it out, or encode it again"
            )
        self._vectors = F.normalize(rows, dim=1)
        self.dimension = rows.shape[1]
        self.text_method_ = Choice("given", "the vectors of the captions were given")

    def fits(self, caption: str) -> bool:
        """Whether there is a vector of a caption."""
        return caption in self._row

    def texts(self, captions: str | Iterable[str], progress: Reporter | None = None) -> Tensor:  # noqa: ARG002 - at once
        """Return the vectors (n, d) of captions.

        Raises:
            InputError: names one that has none.
        """
        listed = [captions] if isinstance(captions, str) else list(captions)
        missing = [caption for caption in listed if caption not in self._row]
        if missing:
            raise InputError(f"captions has no vector of {shown(missing[0])}: add it")
        return self._vectors[to_device(torch.tensor([self._row[own] for own in listed]), self._vectors.device)]


def _rows(vectors: Array, name: str) -> Tensor:
    """Return floats (n, d) where they lie, n and d at least 1."""
    if isinstance(vectors, (list, tuple)) and vectors and all(isinstance(one, torch.Tensor) for one in vectors):
        shapes = {tuple(one.shape) for one in vectors}
        if len(shapes) > 1:
            raise InputError(
                f"{name} holds vectors of the shapes {', '.join(map(str, sorted(shapes)))}: pass equal ones"
            )
        vectors = torch.stack(vectors)
    rows = to_torch(vectors, name)
    if rows.ndim != 2 or not rows.numel():
        raise InputError(f"{name} has shape {tuple(rows.shape)}: pass one vector a row, (n, d)")
    return rows if rows.is_floating_point() else rows.float()
