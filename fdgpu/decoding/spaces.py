"""Which CLIP space a pipeline decodes, and whether the directions live in it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from fdgpu.errors import InputError

NAMELESS = ("local-dir:", "hf-hub:")  # a checkpoint's folder says nothing about the space


@dataclass(frozen=True)
class ClipSpace:
    """Length of the vectors, and what open_clip calls the models whose vectors they are; none where unknown."""

    dimension: int
    names: tuple[str, ...] = ()

    def check(self, clip: Any, pipeline: str) -> None:
        """Check that ``clip``'s vectors are the ones that ``pipeline`` decodes.

        Args:
            clip: a :class:`fdgpu.ClipEmbedder`, or its name such as ``"ViT-L-14:openai"``.
            pipeline: what the error calls it.

        Raises:
            InputError: names both spaces, and the embedder to fit the directions again with.
        """
        name = clip if isinstance(clip, str) else str(clip.name)
        dimension = None if isinstance(clip, str) else int(clip.dimension)
        if dimension is not None and dimension != self.dimension:
            raise InputError(
                f"{name} gives vectors of {dimension} numbers, {pipeline} decodes vectors of {self.dimension}"
                f"{self._remedy()}"
            )
        if self.names and name not in self.names and _is_a_name(name):
            raise InputError(f"{pipeline} decodes vectors of {self.names[0]}, not of {name}{self._remedy()}")

    def _remedy(self) -> str:
        if not self.names:
            return ": fit the directions on embeddings of the CLIP that the pipeline was trained with"
        if self.names[0] == "bundled":
            return ": embed with fdgpu.ClipEmbedder.bundled() and fit the directions again, with whiten=False"
        model, _, tag = self.names[0].partition(":")
        return f": embed with fdgpu.ClipEmbedder({model!r}, {tag!r}) and fit the directions again, with whiten=False"


def _is_a_name(name: str) -> bool:
    """Whether a name says which weights are meant: a hub's or a folder's does not."""
    _, _, tag = name.partition(":")
    return name == "bundled" or (bool(tag) and not name.startswith(NAMELESS) and "/" not in tag and "." not in tag)


def space_of_encoder(config: Any, dimension: int) -> ClipSpace:
    """Recognise the CLIP whose vision tower has this (transformers) configuration.

    Args:
        config: with ``hidden_size``, ``num_hidden_layers`` and ``patch_size``.
        dimension: of the vectors.
    """
    tower = (dimension, config.hidden_size, config.num_hidden_layers, config.patch_size)
    known = {(s["dimension"], s["width"], s["layers"], s["patch"]): tuple(s["names"]) for s in _spaces()}
    return ClipSpace(dimension, known.get(tower, ()))


def space_named(name: str, dimension: int) -> ClipSpace:
    """Return the space of ``name`` if ``dimension`` is its own, otherwise a space that nobody has named."""
    for space in _spaces():
        if name in space["names"] and space["dimension"] == dimension:
            return ClipSpace(dimension, tuple(space["names"]))
    return ClipSpace(dimension)


@cache
def _spaces() -> list[dict[str, Any]]:
    text = resources.files("fdgpu.decoding").joinpath("spaces.toml").read_text(encoding="utf-8")
    return list(tomllib.loads(text)["spaces"])
