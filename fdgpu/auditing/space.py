"""The space of an audit: what makes vectors of its images, and what reads captions into the same, if anything does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from fdgpu.arrays import Array, to_device, to_host
from fdgpu.auditing.captioning import CaptionSource
from fdgpu.auditing.columns.inputs import AuditInputs
from fdgpu.auditing.columns.pairing import vectors_by_path
from fdgpu.auditing.images import Embedded
from fdgpu.captions.candidates import CaptionRecipe
from fdgpu.checks import check_kind, check_text
from fdgpu.decoding.decoder import Decoder
from fdgpu.device import choose_device
from fdgpu.embedding.clip import ClipEmbedder
from fdgpu.embedding.embedder import CaptionReader, ImageEmbedder
from fdgpu.embedding.features import named_embedder
from fdgpu.embedding.given import GivenCaptions, GivenVectors
from fdgpu.embedding.sources import ImageSource, ListedSource
from fdgpu.errors import InputError
from fdgpu.progress import silent
from fdgpu.store.embedding_store import EmbeddingStore
from fdgpu.store.stored import StoredVectors

Embedder = ImageEmbedder | str | Callable[[], ImageEmbedder] | None  # as audit takes it
COMPARED = 8  # images beside given vectors that are embedded again
SAME = 0.9  # least cosine of two embeddings of an image, which another preprocessing changes a little
WANTED = "an fdgpu.ClipEmbedder, its name, or a function that loads one"


@dataclass(frozen=True)
class Space:
    """What an audit's vectors come from; ``reader`` is None in a space without captions (paper, B.1.6)."""

    images: ImageEmbedder
    reader: CaptionReader | None

    @classmethod
    def of(cls, embedder: Embedder, embeddings: Array, captions: object, source: ImageSource) -> Space:
        """Load what is to be loaded, and lay given vectors beside their images.

        Args:
            embedder: of images and captions; beside ``embeddings`` of captions alone.
            embeddings: vectors of the images that are there already, (n, d) or by path; None for none.
            captions: vectors of captions, which take the place of the embedder's own.
            source: of the images, to whose ids vectors by path belong.

        Raises:
            InputError: if these do not go together.
        """
        reader: CaptionReader | None
        if embeddings is None:
            images = loaded_embedder(embedder)
            reader = images if isinstance(images, CaptionReader) else None
        else:
            images = _given(embeddings, source)
            reader = None if embedder is None else _reader(embedder)
        if captions is not None:
            if embeddings is not None and reader is not None:
                raise InputError("captions and embedder are given, and both read captions: leave one out")
            reader = GivenCaptions(captions, images.placement.device)
        if reader is not None and reader.dimension != images.dimension:
            what = "captions" if captions is not None else f"those of {getattr(reader, 'name', 'embedder')}"
            raise InputError(
                f"the images have vectors of {images.dimension} numbers, and {what} have {reader.dimension}: pass "
                "captions, or the embedder, of the model that made them"
            )
        return cls(images, reader)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What could make the vectors wrong."""
        return tuple(dict.fromkeys(doubt for one in (self.images, self.reader) for doubt in getattr(one, "doubts", ())))

    @property
    def name(self) -> str:
        """The model, as reports show it."""
        clip, own = getattr(self.reader, "name", None), self.images.name
        given = isinstance(self.images, (GivenVectors, StoredVectors))
        return f"{clip}, {own}" if clip and given and clip != own else own

    def grammar(self, grammar: object, decoder: Decoder | None, captioner: object = None) -> object:
        """Return what captions are taken from, read as far as that goes without the classes.

        Raises:
            InputError: for a grammar, a captioner or a decoder where nothing reads captions, a captioner where captions
                were given, a decoder of another space, or a recipe that cannot be read.
        """
        for what, given in (("grammar", grammar), ("captioner", captioner), ("decoder", decoder)):
            if given is not None and self.reader is None:
                raise InputError(
                    f"{what} is given, and nothing reads captions into the space of {self.images.name}: leave it out, "
                    "pass the CLIP of that space as embedder, or captions with their vectors"
                )
        if captioner is not None and isinstance(self.reader, GivenCaptions):
            raise InputError(
                "captioner is given beside captions with their vectors, and its sentences have none: pass the CLIP of "
                "that space as embedder in place of captions"
            )
        if decoder is not None:
            decoder.check(self.reader if isinstance(self.reader, ClipEmbedder) else self.images)
        if grammar is None and getattr(self.reader, "name", "") == "bundled":
            grammar = "demo"
        return CaptionRecipe.named(str(grammar)) if isinstance(grammar, (str, Path)) else grammar

    def candidates(self, grammar: object, inputs: AuditInputs) -> CaptionSource | None:
        """Return the captions of every class; None in a space without them.

        Raises:
            InputError: for a class whose reference caption has no vector among those that were given.
        """
        if self.reader is None:
            return None
        source = CaptionSource.resolve(grammar, inputs.given_names, self.reader.dimension, inputs.nouns)
        if not isinstance(self.reader, GivenCaptions):
            return source
        missing = [entry for entry in source.recipe.classes if not self.reader.fits(entry.reference)]
        if missing:
            raise InputError(
                f"captions has no vector of {missing[0].reference!r}, from which those of the class "
                f"{missing[0].name!r} differ ({len(missing)} of {len(source.recipe.classes)} classes lack theirs): add "
                "it, or pass a grammar whose reference is there"
            )
        return replace(source, listed=self.reader.listed) if grammar is None else source


def doubt_vectors(space: Space, source: ImageSource, embedded: Embedded) -> str:
    """Say where given vectors are not those that the embedder makes of their images; nothing where it makes none.

    A few images, spread over all, are embedded again: vectors in another order, or of another model, would not be
    seen otherwise.
    """
    embedder = space.reader
    if not isinstance(space.images, (GivenVectors, StoredVectors)) or not isinstance(embedder, ImageEmbedder):
        return ""
    rows = np.flatnonzero(embedded.readable)
    rows = np.unique(rows[np.linspace(0, len(rows) - 1, min(len(rows), COMPARED)).astype(int)])
    again = [
        (row, one) for row, one in zip(rows, source.again(rows.tolist()), strict=True) if one and one.image is not None
    ]
    if not again:
        return ""
    made = embedder.embed(ListedSource([one.image for _, one in again]), silent).vectors
    given = embedded.vectors.take(np.array([row for row, _ in again]))
    cosines = to_host((made * to_device(given, made.device)).sum(dim=1), "whether given vectors are the embedder's")
    cosines = cosines[np.isfinite(cosines)]
    other = int((cosines < SAME).sum())
    if not other:
        return ""
    return (
        f"{other} of {len(cosines)} images that {embedder.name} embedded again have other embeddings than those given "
        f"(cosine {float(np.median(cosines)):.2f} in the middle): if their order or their model is another, every "
        "number here is wrong. Give them by path, as a mapping, and pass the model that made them."
    )


def check_space(embedder: object, embeddings: object, images: object) -> None:
    """Refuse what the arguments of a space cannot be, before any work."""
    if embeddings is None and images is None:
        raise InputError("images is missing: pass images, or embeddings that are there already")
    loads = callable(embedder) and not isinstance(embedder, (type, torch.nn.Module))
    check_kind(embedder, "embedder", embedder is None or isinstance(embedder, (ImageEmbedder, str)) or loads, WANTED)
    if isinstance(embedder, str):
        check_text(embedder, "embedder")


def loaded_embedder(embedder: Embedder) -> ImageEmbedder:
    """Return what embeds images; by default the bundled CLIP."""
    if isinstance(embedder, ImageEmbedder):
        return embedder
    loaded = named_embedder(embedder) if isinstance(embedder, str) else (embedder or ClipEmbedder.bundled)()
    check_kind(loaded, "embedder()", isinstance(loaded, ImageEmbedder), WANTED)
    return loaded


def _given(embeddings: Array, source: ImageSource) -> GivenVectors | StoredVectors:
    if isinstance(embeddings, EmbeddingStore):
        return StoredVectors(embeddings, choose_device("auto").device)
    if isinstance(embeddings, Mapping):
        embeddings = vectors_by_path(embeddings, source.ids)
    return embeddings if isinstance(embeddings, GivenVectors) else GivenVectors(embeddings)


def _reader(embedder: Embedder) -> CaptionReader:
    loaded = loaded_embedder(embedder)
    if not isinstance(loaded, CaptionReader):
        raise InputError(
            f"embedder is {loaded.name}, which reads no captions, and embeddings are given: leave it out, or pass the "
            "CLIP that made them"
        )
    return loaded
