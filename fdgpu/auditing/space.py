"""The space of an audit: what makes vectors of its images, and what reads captions into the same, if anything does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from fdgpu.arrays import Array
from fdgpu.auditing.captioning import CaptionSource
from fdgpu.auditing.inputs import AuditInputs
from fdgpu.auditing.pairing import vectors_by_path
from fdgpu.checks import check_kind, check_text
from fdgpu.decoding.decoder import Decoder
from fdgpu.embedding.clip import ClipEmbedder
from fdgpu.embedding.embedder import CaptionReader, ImageEmbedder
from fdgpu.embedding.given import GIVEN, GivenCaptions, GivenVectors
from fdgpu.embedding.sources import ImageSource
from fdgpu.errors import InputError

Embedder = ImageEmbedder | Callable[[], ImageEmbedder] | str | None  # as audit takes it
WANTED = "an fdgpu.ClipEmbedder, another fdgpu.embedding embedder, or a function that loads one"


@dataclass(frozen=True)
class Space:
    """What an audit's vectors come from; ``captions`` is None in a space without them (paper, B.1.6)."""

    images: ImageEmbedder
    captions: CaptionReader | None

    @classmethod
    def of(cls, embedder: Embedder, embeddings: Array, captions: object, source: ImageSource) -> Space:
        """Load what is to be loaded, and lay given vectors beside their images.

        Args:
            embedder: of images and captions; beside ``embeddings``, of captions, or the name of what made the vectors.
            embeddings: vectors of the images that are there already, (n, d) or by path; None for none.
            captions: vectors of captions, which take the place of the embedder's own.
            source: of the images, to whose ids vectors by path belong.

        Raises:
            InputError: if these do not go together.
        """
        if isinstance(embeddings, Mapping):
            embeddings = vectors_by_path(embeddings, source.ids)
        given = (
            None if embeddings is None else GivenVectors(embeddings, embedder if isinstance(embedder, str) else GIVEN)
        )
        loads = given is None or embedder is not None
        loaded = None if isinstance(embedder, str) or not loads else _loaded(embedder or ClipEmbedder.bundled)
        images = given or loaded
        assert images is not None  # noqa: S101 - one of the two is there
        reader: CaptionReader | None = loaded if isinstance(loaded, CaptionReader) else None
        if given is not None and loaded is not None:
            if reader is None:
                raise InputError(
                    f"embedder is {loaded.name}, which reads no captions, and the images have embeddings: pass its name"
                )
            given.name = f"{loaded.name} ({GIVEN})"
        if captions is not None:
            if given is not None and reader is not None:
                raise InputError("captions and an embedder are given, and both read captions: leave one out")
            reader = GivenCaptions(captions, images.placement.device)
        if reader is not None and reader.dimension != images.dimension:
            what = "captions" if captions is not None else reader.name if isinstance(reader, ImageEmbedder) else ""
            raise InputError(
                f"the images have vectors of {images.dimension} numbers, and {what} {reader.dimension}: pass captions "
                "of the model that made them"
            )
        return cls(images, reader)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What could make the vectors wrong."""
        return tuple(
            dict.fromkeys(doubt for one in (self.images, self.captions) for doubt in getattr(one, "doubts", ()))
        )

    def check_decoder(self, decoder: Decoder) -> None:
        """Check that a decoder draws from this space.

        Raises:
            InputError: for another space, or one without captions, whose vectors it starts from.
        """
        decoder.check(self.captions if isinstance(self.captions, ClipEmbedder) else self.images)
        if self.captions is None:
            raise InputError(
                f"decoder is given, and {self.images.name} reads no captions, whose vectors it starts from (paper, "
                "A.7): leave it out, or pass the CLIP that it decodes as embedder"
            )

    def candidates(self, grammar: object, inputs: AuditInputs) -> CaptionSource | None:
        """Return where captions come from; None in a space without them.

        Raises:
            InputError: for a grammar in such a space, or a class whose reference caption has no vector.
        """
        if self.captions is None:
            if grammar is not None:
                raise InputError(
                    f"grammar is given, and {self.images.name} reads no captions: leave it out, pass a CLIP as "
                    "embedder, or captions with vectors of the same space"
                )
            return None
        bundled = getattr(self.captions, "name", "") == "bundled"
        recipe = "demo" if grammar is None and bundled else grammar
        source = CaptionSource.resolve(recipe, inputs.given_names, self.captions.dimension, inputs.nouns)
        if isinstance(self.captions, GivenCaptions):
            self._check_references(self.captions, source)
            if grammar is None:
                source = replace(source, listed=self.captions.listed)
        return source

    @staticmethod
    def _check_references(captions: GivenCaptions, source: CaptionSource) -> None:
        missing = [entry for entry in source.recipe.classes if not captions.fits(entry.reference)]
        if missing:
            raise InputError(
                f"captions has no vector of {missing[0].reference!r}, from which those of the class "
                f"{missing[0].name!r} differ ({len(missing)} of {len(source.recipe.classes)} classes lack theirs): add "
                "it, or pass a grammar whose reference is there"
            )


def check_space(embedder: object, embeddings: object, images: object) -> None:
    """Refuse what the arguments of a space cannot be, before any work."""
    if embeddings is None and images is None:
        raise InputError("images is missing: pass images, or embeddings that are there already")
    if isinstance(embedder, str):
        check_kind(embedder, "embedder", embeddings is not None, f"{WANTED}; a name is for embeddings that are given")
        check_text(embedder, "embedder")
        return
    loads = callable(embedder) and not isinstance(embedder, (type, torch.nn.Module))
    check_kind(embedder, "embedder", embedder is None or isinstance(embedder, ImageEmbedder) or loads, WANTED)


def _loaded(embedder: ImageEmbedder | Callable[[], ImageEmbedder]) -> ImageEmbedder:
    loaded = embedder if isinstance(embedder, ImageEmbedder) else embedder()
    check_kind(loaded, "embedder()", isinstance(loaded, ImageEmbedder), WANTED)
    return loaded
