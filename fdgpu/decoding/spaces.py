"""Which CLIP space a pipeline decodes, and whether the directions live in it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Protocol

from fdgpu.errors import InputError

NAMELESS = ("local-dir:", "hf-hub:")  # a checkpoint's folder says nothing about the space


class VisionConfig(Protocol):
    """What transformers says of a CLIP's vision tower."""

    hidden_size: int
    num_hidden_layers: int
    patch_size: int


@dataclass(frozen=True)
class ClipSpace:
    """Length of the vectors, and what open_clip calls the models whose vectors they are; none where unknown."""

    dimension: int
    names: tuple[str, ...] = ()

    def check(self, clip: object, pipeline: str) -> None:
        """Check that ``clip``'s vectors are the ones that ``pipeline`` decodes.

        Args:
            clip: a :class:`fdgpu.ClipEmbedder`, or its name such as ``"ViT-L-14:openai"``. Without a tag, or with a
                file of weights for one, the model alone is compared; a hub's or a folder's name passes, as it says
                nothing.
            pipeline: what the error calls it.

        Raises:
            InputError: names both spaces, and the embedder to fit the directions again with; or ``clip`` is neither an
                embedder nor a name.
        """
        name, dimension = _name_and_dimension(clip)
        if dimension is not None and dimension != self.dimension:
            raise InputError(
                f"{name} gives vectors of {dimension} numbers, {pipeline} decodes vectors of {self.dimension}"
                f"{self._remedy()}"
            )
        if self.names and not name.startswith(NAMELESS) and not self._holds(name):
            raise InputError(f"{pipeline} decodes vectors of {self.names[0]}, not of {name}{self._remedy()}")

    def _holds(self, name: str) -> bool:
        model, tag = _parts(name)
        return any(model == own and tag in ("", own_tag) for own, own_tag in map(_parts, self.names))

    def _remedy(self) -> str:
        if not self.names:
            return ": fit the directions on embeddings of the CLIP that the pipeline was trained with"
        if self.names[0] == "bundled":
            return ": embed with fdgpu.ClipEmbedder.bundled() and fit the directions again, with whiten=False"
        model, _, tag = self.names[0].partition(":")
        return f": embed with fdgpu.ClipEmbedder({model!r}, {tag!r}) and fit the directions again, with whiten=False"


def _name_and_dimension(clip: object) -> tuple[str, int | None]:
    """Name of an embedder and the length of its vectors; None for the length where ``clip`` is a name alone."""
    name = clip if isinstance(clip, str) else getattr(clip, "name", None)
    if not name or not (isinstance(clip, str) or hasattr(clip, "dimension")):
        raise InputError(f"clip is {clip!r}: pass an fdgpu.ClipEmbedder, or its name such as 'ViT-L-14:openai'")
    return str(name), None if isinstance(clip, str) else int(clip.dimension)


def _parts(name: str) -> tuple[str, str]:
    """Model and tag as open_clip spells them today; an empty tag where it is a file: its name says nothing."""
    model, _, tag = name.partition(":")
    return model.replace("/", "-"), "" if "/" in tag or "." in tag else tag


def space_of_encoder(config: VisionConfig | None, dimension: int) -> ClipSpace:
    """Recognise the CLIP whose vision tower has this (transformers) configuration.

    Args:
        config: of the vision tower; None where a pipeline was loaded without its encoder, and its space has no name.
        dimension: of the vectors.
    """
    if config is None:
        return ClipSpace(dimension)
    tower = (dimension, config.hidden_size, config.num_hidden_layers, config.patch_size)
    return ClipSpace(dimension, _spaces().get(tower, ()))


def space_named(name: str, dimension: int) -> ClipSpace:
    """Return the space of ``name`` if ``dimension`` is its own, otherwise a space without a name."""
    for (own, *_), names in _spaces().items():
        if name in names and own == dimension:
            return ClipSpace(dimension, names)
    return ClipSpace(dimension)


@cache
def _spaces() -> dict[tuple[int, int, int, int], tuple[str, ...]]:
    """Names by (dimension of the vectors; width, layers and patch size of the vision tower)."""
    text = resources.files("fdgpu.decoding").joinpath("spaces.toml").read_text(encoding="utf-8")
    return {
        (s["dimension"], s["width"], s["layers"], s["patch"]): tuple(s["names"]) for s in tomllib.loads(text)["spaces"]
    }
