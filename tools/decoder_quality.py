"""What the bundled CLIP reads in pictures that the bundled decoder made: is what was asked for there?

    python -m tools.decoder_quality [--folder FOLDER] [--seed 0]

compares guidance scales and numbers of steps on vectors of the ``val`` split; the table of the settings that were
chosen, on the ``test`` split, is written by ``python -m tools.train_decoder --evaluate``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fdgpu.decoding.decoder import FOLDER, BundledNet, Decoder, fold, unfold
from fdgpu.demo.base_model import train_base_model
from fdgpu.demo.world import ATTRIBUTES, Attributes, draw_attributes, draw_scene, load_photographs, render
from fdgpu.embedding import ClipEmbedder
from fdgpu.networks import class_scores
from tools.world_captions import Caption, all_captions, zero_shot_accuracy

READ = ("noun", "colour", "background", "size")
JUDGED = "noun, by a classifier"  # which took no part in the decoder's training, as the bundled CLIP did
REQUIRED = 0.8
SHOWN = 500  # pictures of the split whose vectors are decoded
GUIDANCES = (1.0, 1.5, 2.0, 3.0, 4.0)
STEPS = (10, 25, 50)

Readings = dict[str, float]


@dataclass(frozen=True)
class Quality:
    """How often each attribute is read as it was asked for, and the noun by a classifier too.

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
    """Pictures and what they show, or were to show: (n, 3, 64, 64) uint8, or decoded ones, (n, 3, 32, 32) in [0, 1]."""

    pixels: Tensor
    attributes: Attributes
    labels: Tensor


def quality(folder: Path = FOLDER, seed: int = 0) -> Quality:
    """Measure the weights in ``folder`` on the ``test`` split and on every caption of the world."""
    decoder, clip, judge = Decoder(BundledNet.load("auto", folder)), ClipEmbedder.bundled(), _judge(seed)
    held_out = held_out_pictures("test", SHOWN, seed)
    halved = replace(held_out, pixels=unfold(fold(held_out.pixels)))
    of_captions = decoded_captions(decoder, clip, all_captions(), seed)
    of_images = decoded_images(decoder, clip, held_out, seed)
    return Quality(
        _read_captions(clip, all_captions(), of_captions) | _judged(judge, of_captions),
        _read(clip, of_images) | _judged(judge, of_images),
        _read(clip, halved) | _judged(judge, halved),
        decoder.steps,
        decoder.guidance,
    )


def _judge(seed: int) -> nn.Module:
    """Train a small net on the ``base`` photographs, with freely drawn attributes."""
    made = held_out_pictures("base", None, seed)
    return train_base_model(made.pixels, made.labels, seed)


def _judged(judge: nn.Module, shown: Pictures) -> Readings:
    predicted = class_scores(judge, shown.pixels.cpu()).argmax(1)
    return {JUDGED: float((predicted == shown.labels).float().mean())}


def held_out_pictures(split: str, n: int | None, seed: int) -> Pictures:
    """Render ``n`` photographs of a split, or all, with freshly drawn attributes."""
    generator = torch.Generator().manual_seed(seed + 1)
    pixels, labels = load_photographs(split)
    rows = torch.randperm(len(labels), generator=generator)[:n]
    attributes = draw_attributes(len(labels), generator)
    scene = draw_scene(attributes, labels, generator)[rows]
    return Pictures(render(pixels, scene), attributes[rows], labels[rows])


def read_captions(decoder: Decoder, clip: ClipEmbedder, captions: list[Caption], seed: int, **how: Any) -> Readings:
    """Decode captions' vectors and read what each of them claims; what it leaves open is not asked."""
    return _read_captions(clip, captions, decoded_captions(decoder, clip, captions, seed, **how))


def read_images(decoder: Decoder, clip: ClipEmbedder, held_out: Pictures, seed: int, **how: Any) -> Readings:
    """Decode vectors of pictures and read what those show."""
    return _read(clip, decoded_images(decoder, clip, held_out, seed, **how))


def decoded_captions(decoder: Decoder, clip: ClipEmbedder, captions: list[Caption], seed: int, **how: Any) -> Pictures:
    """Decode captions' vectors; an attribute that a caption leaves open has code 0."""
    claimed = {name: torch.zeros(len(captions), dtype=torch.long) for name in ATTRIBUTES}
    for row, caption in enumerate(captions):
        for phrase in (caption.adjective, caption.preposition):
            if phrase.attribute:
                claimed[phrase.attribute][row] = phrase.code
    vectors = clip.texts([caption.text for caption in captions])
    labels = torch.tensor([caption.noun for caption in captions])
    return Pictures(decoder.sample(vectors, seed=seed, **how), Attributes(**claimed), labels)


def decoded_images(decoder: Decoder, clip: ClipEmbedder, held_out: Pictures, seed: int, **how: Any) -> Pictures:
    """Decode the vectors of pictures."""
    return replace(held_out, pixels=decoder.sample(clip.images(held_out.pixels), seed=seed, **how))


def _read_captions(clip: ClipEmbedder, captions: list[Caption], shown: Pictures) -> Readings:
    coloured = torch.tensor([caption.adjective.attribute == "colour" for caption in captions])
    of_colour = Pictures(shown.pixels[coloured], shown.attributes[coloured], shown.labels[coloured])
    return _read(clip, shown) | {"colour": _read(clip, of_colour)["colour"]}  # of code 0, no wall or size is asked


def _read(clip: ClipEmbedder, shown: Pictures) -> Readings:
    vectors = clip.images(shown.pixels.mul(255).round().to(torch.uint8))
    accuracies = zero_shot_accuracy(
        vectors.cpu(), lambda texts: clip.texts(texts).cpu(), shown.attributes, shown.labels
    )
    return {name: accuracies[name] for name in READ}


def table(measured: Quality) -> str:
    """Write the table in Markdown."""
    columns = (measured.captions, measured.images, measured.ceiling)
    required = dict.fromkeys(READ, f"{REQUIRED:.2f}") | {JUDGED: ""}
    rows = [
        f"| {name} | {least} | {' | '.join(f'{own[name]:.3f}' for own in columns)} |"
        for name, least in required.items()
    ]
    lines = [
        "# What the bundled CLIP reads in pictures of the bundled decoder",
        "",
        f"{len(all_captions())} captions and {SHOWN} vectors of renderings of the `test` photographs, which no",
        f"training sees, decoded in {measured.steps} steps with guidance {measured.guidance:g}. The ceiling is those",
        "renderings themselves at 32 x 32 pixels. The bundled CLIP helped to train the decoder; the classifier, a",
        "small net trained on the `base` photographs, did not. Written by",
        "`python -m tools.train_decoder --evaluate`.",
        "",
        "| attribute | required | from captions | from images | ceiling |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]
    return "\n".join(lines)


def compare(folder: Path, seed: int, n: int) -> None:
    """Print the readings of every guidance and number of steps, on ``n`` captions and vectors of the ``val`` split."""
    decoder, clip = Decoder(BundledNet.load("auto", folder)), ClipEmbedder.bundled()
    held_out = held_out_pictures("val", n, seed)
    chosen = torch.randperm(len(all_captions()), generator=torch.Generator().manual_seed(seed))[:n]
    captions = [all_captions()[i] for i in chosen.tolist()]
    for steps in STEPS:
        for guidance in GUIDANCES:
            of_captions = read_captions(decoder, clip, captions, seed, steps=steps, guidance=guidance)
            of_images = read_images(decoder, clip, held_out, seed, steps=steps, guidance=guidance)
            row = "  ".join(f"{name} {of_captions[name]:.3f} {of_images[name]:.3f}" for name in READ)
            print(f"steps {steps:3d}  guidance {guidance:3.1f}  captions, images: {row}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=300)
    arguments = parser.parse_args()
    compare(arguments.folder, arguments.seed, arguments.pictures)
