"""The bundled world's settings, read once from ``world.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

ATTRIBUTES = ("colour", "background", "framing", "blurry")


@dataclass(frozen=True)
class Plant:
    """One planted correlation: ``class_name`` shows ``easy`` most of the time in training, ``hard`` seldom."""

    class_name: str
    attribute: str
    easy: str
    hard: str


@dataclass(frozen=True)
class WorldSettings:
    """What the renderer draws with and what the demo plants; the order of a tuple is the order of its codes."""

    class_names: tuple[str, ...]
    palette: dict[str, dict[str, tuple[float, float, float]]]
    framings: dict[str, tuple[float, float]]
    framing_chances: tuple[float, ...]
    blurry_chance: float
    strength: float
    plants: tuple[Plant, ...]

    def names(self, attribute: str) -> tuple[str, ...]:
        """Return the names of an attribute's codes, for example ``("none", "black", …)``."""
        if attribute == "framing":
            return tuple(self.framings)
        if attribute == "blurry":
            return ("sharp", "blurry")
        return tuple(self.palette[attribute])

    def code(self, attribute: str, name: str) -> int:
        """Return the integer code of ``name``."""
        return self.names(attribute).index(name)


@cache
def world_settings() -> WorldSettings:
    """Read ``world.toml``; the result is cached, since it never changes while a program runs."""
    text = resources.files("fdgpu.demo").joinpath("world.toml").read_text(encoding="utf-8")
    raw = tomllib.loads(text)
    return WorldSettings(
        class_names=tuple(raw["classes"]),
        palette={
            "colour": {name: tuple(rgb) for name, rgb in raw["colours"].items()},
            "background": {name: tuple(rgb) for name, rgb in raw["backgrounds"].items()},
        },
        framings={name: tuple(span) for name, span in raw["framings"].items()},
        framing_chances=tuple(raw["chances"]["framing"]),
        blurry_chance=raw["chances"]["blurry"],
        strength=raw["plants"]["strength"],
        plants=tuple(Plant(p["class"], p["attribute"], p["easy"], p["hard"]) for p in raw["plants"]["classes"]),
    )
