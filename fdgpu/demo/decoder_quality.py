"""What the bundled CLIP reads in pictures that the bundled decoder made: is what was asked for there?

    python -m fdgpu.demo.decoder_quality [--folder FOLDER] [--seed 0]

compares guidance scales and numbers of steps on vectors of the ``val`` split; the table of the settings that were
chosen, on the ``test`` split, is written by ``python -m fdgpu.demo.train_decoder --evaluate``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fdgpu.decoding.bundled import FOLDER, fold, unfold
from fdgpu.decoding.bundled_net import BundledNet
from fdgpu.decoding.decoder import Decoder
from fdgpu.demo.photographs import load_photographs
from fdgpu.demo.renderer import Attributes, draw_attributes, draw_scene, render
from fdgpu.demo.settings import ATTRIBUTES
from fdgpu.demo.speech import Caption, all_captions
from fdgpu.demo.zero_shot import zero_shot_accuracy
from fdgpu.embedding import ClipEmbedder

READ = ("noun", "colour", "background", "size")
REQUIRED = 0.8
SHOWN = 500  # pictures of the split whose vectors are decoded
GUIDANCES = (1.0, 1.5, 2.0, 3.0, 4.0)
STEPS = (10, 25, 50)

Readings = dict[str, float]


@dataclass(frozen=True)
class Quality:
    """How often each attribute is read as it was asked for.

    ``captions``: in pictures decoded from captions' vectors, of what each caption claims. ``images``: from vectors of
    pictures that no training saw. ``ceiling``: in those pictures themselves, at the decoder's resolution.
    """

    captions: Readings
    images: Readings
    ceiling: Readings
    steps: int
    guidance: float


@dataclass(frozen=True)
class Pictures:
    """Held-out pictures (n, 3, 64, 64) uint8 and what they show."""

    pixels: Tensor
    attributes: Attributes
    labels: Tensor


def quality(folder: Path = FOLDER, seed: int = 0) -> Quality:
    """Measure the weights in ``folder`` on the ``test`` split and on every caption of the world."""
    decoder, clip = Decoder.of(BundledNet.load("auto", folder)), ClipEmbedder.bundled()
    held_out = held_out_pictures("test", SHOWN, seed)
    halved = unfold(fold(held_out.pixels))
    return Quality(
        read_captions(decoder, clip, all_captions(), seed),
        read_images(decoder, clip, held_out, seed),
        _read(clip, halved, held_out.attributes, held_out.labels),
        decoder.steps,
        decoder.guidance,
    )


def held_out_pictures(split: str, n: int, seed: int) -> Pictures:
    """Render ``n`` photographs of a split with freshly drawn attributes."""
    generator = torch.Generator().manual_seed(seed + 1)
    photographs = load_photographs(split)
    rows = torch.randperm(len(photographs.labels), generator=generator)[:n]
    attributes = draw_attributes(len(photographs.labels), generator)
    scene = draw_scene(attributes, photographs.labels, generator)[rows]
    return Pictures(render(photographs.pixels, scene), attributes[rows], photographs.labels[rows])


def read_captions(
    decoder: Decoder,
    clip: ClipEmbedder,
    captions: list[Caption],
    seed: int,
    steps: int | None = None,
    guidance: float | None = None,
) -> Readings:
    """Decode captions' vectors and read what each of them claims; what it leaves open is not asked."""
    vectors = clip.texts([caption.text for caption in captions])
    pictures = decoder.sample(vectors, steps, seed, guidance=guidance)
    claimed = {name: torch.zeros(len(captions), dtype=torch.long) for name in ATTRIBUTES}
    speaks = torch.tensor([caption.adjective.attribute == "colour" for caption in captions])
    for row, caption in enumerate(captions):
        for phrase in (caption.adjective, caption.preposition):
            if phrase.attribute:
                claimed[phrase.attribute][row] = phrase.code
    attributes, labels = Attributes(**claimed), torch.tensor([caption.noun for caption in captions])
    readings = _read(clip, pictures, attributes, labels)  # silence has code 0, of which neither wall nor size is asked
    readings["colour"] = _read(clip, pictures[speaks], attributes[speaks], labels[speaks])["colour"]
    return readings


def read_images(
    decoder: Decoder,
    clip: ClipEmbedder,
    held_out: Pictures,
    seed: int,
    steps: int | None = None,
    guidance: float | None = None,
) -> Readings:
    """Decode vectors of pictures and read what those show."""
    pictures = decoder.sample(clip.images(held_out.pixels), steps, seed, guidance=guidance)
    return _read(clip, pictures, held_out.attributes, held_out.labels)


def _read(clip: ClipEmbedder, pictures: Tensor, attributes: Attributes, labels: Tensor) -> Readings:
    pixels = pictures.mul(255).round().to(torch.uint8)
    vectors = clip.images(pixels)
    told = zero_shot_accuracy(vectors.cpu(), lambda texts: clip.texts(texts).cpu(), attributes, labels)
    return {name: told[name] for name in READ}


def table(measured: Quality) -> str:
    """Write the table in Markdown."""
    rows = [
        f"| {name} | {REQUIRED:.2f} | {measured.captions[name]:.3f} | {measured.images[name]:.3f} | "
        f"{measured.ceiling[name]:.3f} |"
        for name in READ
    ]
    lines = [
        "# What the bundled CLIP reads in pictures of the bundled decoder",
        "",
        f"{len(all_captions())} captions and {SHOWN} vectors of renderings of the `test` photographs, which no",
        f"training sees, decoded in {measured.steps} steps with guidance {measured.guidance:g}. The ceiling is those",
        "renderings themselves at 32 x 32 pixels. Written by `python -m fdgpu.demo.train_decoder --evaluate`.",
        "",
        "| attribute | required | from captions | from images | ceiling |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]
    return "\n".join(lines)


def compare(folder: Path, seed: int, n: int) -> None:
    """Print the readings of every guidance and number of steps, on ``n`` captions and vectors of the ``val`` split."""
    decoder, clip = Decoder.of(BundledNet.load("auto", folder)), ClipEmbedder.bundled()
    held_out = held_out_pictures("val", n, seed)
    chosen = torch.randperm(len(all_captions()), generator=torch.Generator().manual_seed(seed))[:n]
    captions = [all_captions()[i] for i in chosen.tolist()]
    for steps in STEPS:
        for guidance in GUIDANCES:
            spoken = read_captions(decoder, clip, captions, seed, steps, guidance)
            seen = read_images(decoder, clip, held_out, seed, steps, guidance)
            said = "  ".join(f"{name} {spoken[name]:.3f} {seen[name]:.3f}" for name in READ)
            print(f"steps {steps:3d}  guidance {guidance:3.1f}  captions, images: {said}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=300)
    arguments = parser.parse_args()
    compare(arguments.folder, arguments.seed, arguments.pictures)
