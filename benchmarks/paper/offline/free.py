"""The bundled world with nothing planted: garments, whose attributes are drawn freely."""

from __future__ import annotations

from functools import cached_property

from benchmarks.paper.offline.garments import Part, superclasses
from benchmarks.paper.offline.rendered import POOL, ThreeRendered
from benchmarks.paper.sets import Seen
from fdgpu.captions import CaptionRecipe


class FreeGarments(ThreeRendered):
    """The sets of one seed; every garment is a class of its own."""

    @cached_property
    def captions(self) -> CaptionRecipe:
        """Every word that the renderer can draw."""
        return CaptionRecipe.resolve("demo", self.settings["garments"])

    def pool(self) -> Seen:
        """Render other photographs."""
        return self._set(POOL, "pool")

    def _set(self, stream: int, name: str) -> Seen:
        groups = {garment: [garment] for garment in self.settings["garments"]}
        part = Part(**self.settings[name], seed=self.seed)
        return self.lab.see(superclasses(groups, part, {}, 4 * self.seed + stream))
