"""The demo's data set: photographs that ship (Fashion-MNIST), rendered with planted correlations, and the truth.

What the world is made of stands in ``world.toml``; photographs lie in one PNG sprite sheet per split and class.
Everything random is drawn once, on the CPU, for the whole set (:func:`draw_scene`). :func:`render` is then a pure
function of its inputs, so a picture does not depend on the batch it was drawn in, nor, but for rounding, on the device.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from fdgpu.checks import LARGEST_SEED
from fdgpu.errors import InputError
from fdgpu.findings import Split

ATTRIBUTES = ("colour", "background", "framing", "blurry")
IMAGE_SIZE = 64
MOST_GARMENTS = 3
BLUR_SIGMA = 1.7  # pixels at 64 x 64: plainly out of focus, the garment still recognisable
PHOTOGRAPHS = {Split.TRAIN: "base", Split.VAL: "val", Split.TEST: "test"}
BALANCED = 0.5
POOL = 1 << 40  # added to the seed: no split has it
TILE = 28  # pixels, the side of a photograph
Bytes = NDArray[np.uint8]


# --- what it is made of -----------------------------------------------------------------------------------------------


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


# --- the camera: photographs and attributes in, pictures out ----------------------------------------------------------


@dataclass(frozen=True)
class Attributes:
    """What is true of each picture: integer codes (n,) into :meth:`WorldSettings.names`."""

    colour: Tensor
    background: Tensor
    framing: Tensor
    blurry: Tensor

    def __len__(self) -> int:
        return len(self.colour)

    def __getitem__(self, index: Tensor | slice) -> Attributes:
        return Attributes(*(getattr(self, name)[index] for name in ATTRIBUTES))

    def named(self, row: int) -> dict[str, str]:
        """Return one picture's attributes in words."""
        settings = world_settings()
        return {name: settings.names(name)[int(getattr(self, name)[row])] for name in ATTRIBUTES}


@dataclass(frozen=True)
class Scene:
    """All that decides a picture: attributes and the drawn accidents of the camera, one row a picture."""

    attributes: Attributes
    garments: Tensor  # (n, 3) indices into the photographs, the first one always shown
    count: Tensor  # (n,) how many of them are shown
    share: Tensor  # (n,) width of a garment as a share of the picture
    shift: Tensor  # (n, 3, 2) displacement of each garment, in picture widths
    tilt: Tensor  # (n, 3) rotation, radians
    mirror: Tensor  # (n, 3) +1 or -1
    light: Tensor  # (n, 4) direction and strength of the light on the wall, brightness
    tint_jitter: Tensor  # (n, 3) added to the garment's colour
    wall_jitter: Tensor  # (n, 3) added to the background's colour

    def __len__(self) -> int:
        return len(self.count)

    def __getitem__(self, index: Tensor | slice) -> Scene:
        return Scene(*(getattr(self, field.name)[index] for field in fields(self)))


def draw_attributes(n: int, generator: torch.Generator) -> Attributes:
    """Draw attributes that nothing correlates: colours and backgrounds uniform, the rest by ``[chances]``."""
    settings = world_settings()
    framing = torch.multinomial(torch.tensor(settings.framing_chances), n, True, generator=generator)
    return Attributes(
        colour=torch.randint(len(settings.names("colour")), (n,), generator=generator),
        background=torch.randint(len(settings.names("background")), (n,), generator=generator),
        framing=framing,
        blurry=(torch.rand(n, generator=generator) < settings.blurry_chance).long(),
    )


def draw_scene(attributes: Attributes, labels: Tensor, generator: torch.Generator) -> Scene:
    """Draw the accidents of each picture.

    Args:
        attributes: what each picture shows, n rows.
        labels: (n,) class of each photograph; the other garments of a group are of the same class.
        generator: a CPU generator; the same state gives the same scene.
    """
    n = len(labels)
    settings = world_settings()
    is_group = attributes.framing == settings.code("framing", "group of")
    spans = torch.tensor([settings.framings[name] for name in settings.names("framing")])[attributes.framing]
    centred = torch.rand(n, MOST_GARMENTS, 2, generator=generator) - 0.5
    return Scene(
        attributes=attributes,
        garments=_companions(labels, generator),
        count=torch.where(is_group, torch.randint(2, MOST_GARMENTS + 1, (n,), generator=generator), 1),
        share=spans[:, 0] + (spans[:, 1] - spans[:, 0]) * torch.rand(n, generator=generator),
        shift=centred * _slack(spans, is_group)[:, None, None],
        tilt=(torch.rand(n, MOST_GARMENTS, generator=generator) - 0.5) * 0.3,
        mirror=torch.randint(2, (n, MOST_GARMENTS), generator=generator).float() * 2 - 1,
        light=torch.rand(n, 4, generator=generator),
        tint_jitter=(torch.rand(n, 3, generator=generator) - 0.5) * 0.08,
        wall_jitter=(torch.rand(n, 3, generator=generator) - 0.5) * 0.08,
    )


def _companions(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Return (n, 3): each photograph and two others of its class, drawn with replacement."""
    n = len(labels)
    garments = torch.arange(n)[:, None].repeat(1, MOST_GARMENTS)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        picks = torch.randint(len(members), (len(members), MOST_GARMENTS - 1), generator=generator)
        garments[members, 1:] = members[picks]
    return garments


def _slack(spans: Tensor, is_group: Tensor) -> Tensor:
    """Return how far a garment may wander: what the picture leaves free, little within a group."""
    free = (1.0 - spans[:, 1]).clamp(min=0.12) * 0.9
    return torch.where(is_group, torch.full_like(free, 0.10), free)


def render(
    pixels: Tensor, scene: Scene, *, size: int = IMAGE_SIZE, device: torch.device | str = "cpu", batch: int = 512
) -> Tensor:
    """Render pictures.

    Args:
        pixels: (m, 28, 28) uint8 photographs that ``scene.garments`` points into.
        scene: n drawn scenes.
        size: side of the pictures in pixels.
        device: where to render; the pictures come back on the CPU.
        batch: pictures at a time.

    Returns:
        (n, 3, size, size) uint8.
    """
    out = torch.empty(len(scene), 3, size, size, dtype=torch.uint8)
    layers = _shade_and_mask(pixels.to(device))
    for start in range(0, len(scene), batch):
        rows = slice(start, min(start + batch, len(scene)))
        out[rows] = _render_batch(layers, _to(scene[rows], device), size).cpu()
    return out


def _to(scene: Scene, device: torch.device | str) -> Scene:
    attributes = Attributes(*(getattr(scene.attributes, name).to(device) for name in ATTRIBUTES))
    rest = (getattr(scene, field.name).to(device) for field in fields(scene)[1:])
    return Scene(attributes, *rest)


def _shade_and_mask(pixels: Tensor) -> Tensor:
    """Return (m, 2, 28, 28): how light the cloth is, and where it is (holes in light cloth are closed)."""
    grey = pixels[:, None].float() / 255
    closed = -F.max_pool2d(-F.max_pool2d(grey, 5, stride=1, padding=2), 5, stride=1, padding=2)
    return torch.cat([0.30 + 0.75 * grey, (closed * 8).clamp(0, 1)], dim=1)


def _render_batch(layers: Tensor, scene: Scene, size: int) -> Tensor:
    settings = world_settings()
    colours = torch.tensor(list(settings.palette["colour"].values()), device=layers.device)
    walls = torch.tensor(list(settings.palette["background"].values()), device=layers.device)
    tint = (colours[scene.attributes.colour] + scene.tint_jitter).clamp(0, 1)[:, :, None, None]
    picture = _wall((walls[scene.attributes.background] + scene.wall_jitter).clamp(0, 1), scene.light, size)
    centres = _centres(scene.count)
    for item in range(MOST_GARMENTS):
        rows = (scene.count > item).nonzero()[:, 0]  # few pictures show a second or third garment
        if len(rows):
            shade, mask = _garment(layers, scene[rows], centres[rows], item, size)
            shadow = F.avg_pool2d(mask, 5, stride=1, padding=2) * 0.35
            below = picture[rows] * (1 - shadow * (1 - mask))
            picture[rows] = torch.lerp(below, tint[rows] * shade, mask)
    blurry = scene.attributes.blurry.nonzero()[:, 0]
    if len(blurry):
        picture[blurry] = _gaussian_blur(picture[blurry], BLUR_SIGMA * size / IMAGE_SIZE)
    brightness = 0.92 + 0.16 * scene.light[:, 3]
    return (picture * brightness[:, None, None, None] * 255).round().clamp(0, 255).to(torch.uint8)


def _centres(count: Tensor) -> Tensor:
    """Return (n, 3, 2): where each garment of a group stands, in picture widths from the middle."""
    layouts = torch.zeros(MOST_GARMENTS + 1, MOST_GARMENTS, 2, device=count.device)
    layouts[2, :2] = torch.tensor([[-0.24, 0.0], [0.24, 0.0]])
    layouts[3] = torch.tensor([[-0.26, 0.20], [0.26, 0.20], [0.0, -0.25]])
    return layouts[count]


def _wall(colour: Tensor, light: Tensor, size: int) -> Tensor:
    """Return (n, 3, size, size): a wall of one colour, lit from one side."""
    axis = torch.linspace(-0.5, 0.5, size, device=colour.device)
    slope = (light[:, 0, None, None] - 0.5) * axis[None, None, :] + (light[:, 1, None, None] - 0.5) * axis[
        None, :, None
    ]
    return colour[:, :, None, None] * (1 + 0.35 * slope[:, None])


def _garment(layers: Tensor, scene: Scene, centres: Tensor, item: int, size: int) -> tuple[Tensor, Tensor]:
    """Draw each scene's ``item``-th garment as its picture shows it: shade and mask, each (n, 1, size, size)."""
    chosen = layers[scene.garments[:, item]]
    offset = 2 * (centres[:, item] + scene.shift[:, item])
    cos, sin = scene.tilt[:, item].cos(), scene.tilt[:, item].sin()
    scale = 1 / scene.share
    mirror = scene.mirror[:, item]
    # affine_grid asks where a pixel of the picture lies in the photograph: tilt, mirror and shift, inverted
    rows_x = torch.stack([cos * mirror, sin * mirror, -(cos * offset[:, 0] + sin * offset[:, 1]) * mirror], 1)
    rows_y = torch.stack([-sin, cos, sin * offset[:, 0] - cos * offset[:, 1]], 1)
    affine = torch.stack([rows_x, rows_y], 1) * scale[:, None, None]  # (n, 2, 3)
    grid = F.affine_grid(affine, [len(chosen), 2, size, size], align_corners=False)
    drawn = F.grid_sample(chosen, grid, align_corners=False)
    return drawn[:, :1], drawn[:, 1:]


def _gaussian_blur(picture: Tensor, sigma: float) -> Tensor:
    radius = int(3 * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1, device=picture.device, dtype=picture.dtype)
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (weights / weights.sum()).repeat(picture.shape[1], 1, 1, 1)
    padded = F.pad(picture, (radius,) * 4, mode="replicate")
    across = F.conv2d(padded, kernel, groups=picture.shape[1])
    return F.conv2d(across, kernel.transpose(2, 3), groups=picture.shape[1])


# --- the splits, and what was planted ---------------------------------------------------------------------------------


def load_photographs(split: str, folder: Traversable | None = None) -> tuple[Tensor, Tensor]:
    """Load one split: grey garments on nothing, sorted by class.

    Args:
        split: ``"base"``, ``"val"`` or ``"test"``; no photograph is in two of them.
        folder: one with further splits; by default the one that ships.

    Returns:
        Pixels (n, 28, 28) uint8 and classes (n,) int64.

    Raises:
        InputError: if the split is unknown.
    """
    source = resources.files("fdgpu.demo") / "photographs" if folder is None else folder
    known = sorted(part.name for part in source.iterdir() if part.is_dir())
    if split not in known:
        raise InputError(f"split is {split!r}: use one of {', '.join(known)}")
    pixels = []
    for name in world_settings().class_names:
        with (source / split / f"{name}.png").open("rb") as stream:
            pixels.append(cut_sheet(np.asarray(Image.open(stream)), TILE))
    labels = np.repeat(np.arange(len(pixels)), [len(own) for own in pixels])
    return torch.from_numpy(np.concatenate(pixels)), torch.from_numpy(labels)


def cut_sheet(sheet: Bytes, tile: int) -> Bytes:
    """Cut a sprite sheet (rows·tile, columns·tile) into tiles (rows·columns, tile, tile), row by row."""
    rows, columns = sheet.shape[0] // tile, sheet.shape[1] // tile
    return sheet.reshape(rows, tile, columns, tile).swapaxes(1, 2).reshape(-1, tile, tile)


@dataclass(frozen=True)
class RenderedSplit:
    """Rendered pictures (n, 3, 64, 64) uint8, their classes (n,) and attributes, and whether each is of a minority."""

    name: str
    pictures: Tensor
    labels: Tensor
    attributes: Attributes

    @property
    def paths(self) -> list[str]:
        """Relative paths, one a picture: ``val/boot/0007.png``."""
        names = world_settings().class_names
        counts = dict.fromkeys(range(len(names)), 0)
        paths = []
        for label in self.labels.tolist():
            paths.append(f"{self.name}/{names[label]}/{counts[label]:04d}.png")
            counts[label] += 1
        return paths

    def minority(self, plant: Plant) -> Tensor:
        """(n,) bool: pictures of the plant's class that show what the model was taught to fail on."""
        settings = world_settings()
        shows_hard = getattr(self.attributes, plant.attribute) == settings.code(plant.attribute, plant.hard)
        return torch.as_tensor(shows_hard & (self.labels == settings.class_names.index(plant.class_name)))


def make_split(name: Split, seed: int, device: torch.device | str = "cpu", every: int = 1) -> RenderedSplit:
    """Render one split, of each ``every``-th photograph.

    In ``train`` a planted class shows its easy value in ``strength`` of the pictures; in ``val`` and ``test`` half and
    half. The same seed gives the same pictures.
    """
    generator = torch.Generator().manual_seed(
        (seed * len(PHOTOGRAPHS) + list(PHOTOGRAPHS).index(name)) % (LARGEST_SEED + 1)
    )
    pixels, labels = (own[::every] for own in load_photographs(PHOTOGRAPHS[name]))
    settings = world_settings()
    attributes = draw_attributes(len(labels), generator)
    for plant in settings.plants:
        strength = settings.strength if name == Split.TRAIN else BALANCED
        attributes = _plant(attributes, labels, plant, strength, generator)
    scene = draw_scene(attributes, labels, generator)
    return RenderedSplit(name, render(pixels, scene, device=device), labels, attributes)


def make_pool(seed: int, device: torch.device | str = "cpu", every: int = 4) -> RenderedSplit:
    """Render further pictures of each ``every``-th training photograph, in scenes of their own.

    Planted attributes are half and half, so that a class's minority is there to be found.
    """
    generator = torch.Generator().manual_seed((seed + POOL) % (LARGEST_SEED + 1))
    pixels, labels = (own[::every] for own in load_photographs(PHOTOGRAPHS[Split.TRAIN]))
    attributes = draw_attributes(len(labels), generator)
    for plant in world_settings().plants:
        attributes = _plant(attributes, labels, plant, BALANCED, generator)
    scene = draw_scene(attributes, labels, generator)
    return RenderedSplit("pool", render(pixels, scene, device=device), labels, attributes)


def _plant(
    attributes: Attributes, labels: Tensor, plant: Plant, strength: float, generator: torch.Generator
) -> Attributes:
    """Give exactly ``strength`` of a class's pictures the easy value, the others the hard one."""
    settings = world_settings()
    members = (labels == settings.class_names.index(plant.class_name)).nonzero()[:, 0]
    members = members[torch.randperm(len(members), generator=generator)]
    codes = getattr(attributes, plant.attribute).clone()
    codes[members] = settings.code(plant.attribute, plant.hard)
    codes[members[: round(strength * len(members))]] = settings.code(plant.attribute, plant.easy)
    return replace(attributes, **{plant.attribute: codes})


def phrase(plant: Plant) -> str:
    """Return the words by which a caption names a plant's hard value."""
    if plant.attribute == "background":
        return f"on a {plant.hard} background"
    return f"a {plant.hard} {plant.class_name}"


def truth_document(seed: int, test: RenderedSplit) -> dict[str, object]:
    """Return ``truth.json``: what was planted in each class, and what each test picture shows."""
    settings = world_settings()
    plants = {plant.class_name: plant for plant in settings.plants}
    classes = {
        name: {
            "attribute": plants[name].attribute,
            "easy": plants[name].easy,
            "hard": plants[name].hard,
            "named_by": phrase(plants[name]),
        }
        if name in plants
        else None
        for name in settings.class_names
    }
    minority = torch.zeros(len(test.labels), dtype=torch.bool)
    for plant in settings.plants:
        minority |= test.minority(plant)
    pictures = {path: {**test.attributes.named(i), "minority": bool(minority[i])} for i, path in enumerate(test.paths)}
    return {"seed": seed, "strength": settings.strength, "planted": classes, "test": pictures}
