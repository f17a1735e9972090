"""An embedder that is loaded when something is embedded, so that files are looked at before weights are fetched."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from fdgpu import ClipEmbedder


class Deferred:
    """Stands for the embedder of a name, as ``--clip`` spells it; ``name`` alone is known without loading."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def loaded(self) -> ClipEmbedder:
        """The embedder.

        Raises:
            ModelError: for an unknown name, or weights that cannot be had.
        """
        return ClipEmbedder.from_name(self.name)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self.loaded, attribute)
