"""Photographs and attributes in, pictures out: the camera of the bundled world.

Everything random is drawn once, on the CPU, for the whole set (:func:`draw_scene`). :func:`render` is then a
pure function of its inputs, so a picture does not depend on the batch it was drawn in, nor, but for rounding, on the
device.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from fdgpu.demo.settings import ATTRIBUTES, world_settings

IMAGE_SIZE = 64
MOST_GARMENTS = 3
BLUR_SIGMA = 1.7  # pixels at 64 x 64: plainly out of focus, the garment still recognisable


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
