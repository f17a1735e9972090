"""Caption encoding: the prefix tree against ``encode_text`` and against the cut context, on the same device.

    python -m benchmarks.speed.captions [--device cpu] [--repeats 5] [--write]

All three get the same tokens, in the same precision and with room for the same number of them at once (on a CPU as
many as each is fastest with). The slower two are timed on a sample of the captions, since they treat each caption for
itself; the tree has all of them. Rounds alternate, so that a machine that slows down slows all; medians are printed.
A row whose results differ by more than 1e-4 (4e-3 in half precision) in an entry of a unit vector prints no ratio.
``texts`` is the whole way, from strings.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.machine import machine
from benchmarks.stored import store
from fdgpu import CaptionGrammar, ClipEmbedder
from fdgpu.captions import pool_captions
from fdgpu.device import BatchSize, Placement, choose_device
from fdgpu.embedding.clip import CaptionTokens
from fdgpu.embedding.text_encoder import TextEncoder
from fdgpu.embedding.text_tower import CausalTower, TokenPaths, causal_tower

GRAMMARS = ("imagenet", "celeba", "cifar10")
SAMPLE = 2048  # captions that encode_text is timed on
SAMPLES = {("ViT-B-32", "cpu"): 128}  # where that takes minutes
AT_LEAST_SECONDS = 0.5
BATCH = 256
LARGEST_DIFFERENCE = {torch.float32: 1e-4, torch.float16: 4e-3}


@dataclass(frozen=True)
class Model:
    """A model and its tokenizer on a device."""

    name: str
    clip: Any
    tokens: CaptionTokens
    placement: Placement

    def encoder(self, method: str) -> TextEncoder:
        """Return the encoder that uses one method."""
        return TextEncoder(self.clip, self.placement, BatchSize(BATCH), method)


@dataclass(frozen=True)
class Row:
    """One line of the table; speeds are captions a second."""

    model: str
    grammar: str
    precision: str
    captions: int
    longest: int
    context: int
    nodes_a_caption: float
    encode_text: float
    cut_context: float
    prefix_tree: float
    texts: float
    difference: float
    ratio: float | None
    ratio_to_cut: float | None


def captions_of(name: str) -> list[str]:
    """Return the distinct captions of all classes of a recipe."""
    return pool_captions(list(CaptionGrammar.recipe(name).values()))[0]


def random_vit(placement: Placement) -> Model:
    """Return ViT-B/32 with random weights: speed does not depend on them."""
    torch.manual_seed(0)
    precision = "fp16" if placement.dtype == torch.float16 else "fp32"
    vit = open_clip.create_model(
        "ViT-B-32", None, precision=precision, device=placement.device, load_weights=False
    ).eval()
    return Model("ViT-B-32", vit, CaptionTokens(open_clip.get_tokenizer("ViT-B-32"), "ViT-B-32"), placement)


def bundled(device: str) -> Model:
    """Return the model that ships."""
    clip = ClipEmbedder.bundled(device)
    return Model("bundled", clip.model, CaptionTokens(clip.tokenizer, "bundled"), clip.placement)


def timed(work: Callable[[], Tensor]) -> float:
    """Return the seconds of one run, the mean of as many as fill ``AT_LEAST_SECONDS``."""
    start, runs = time.perf_counter(), 0
    while not runs or time.perf_counter() - start < AT_LEAST_SECONDS:
        if work().is_cuda:
            torch.cuda.synchronize()
        runs += 1
    return (time.perf_counter() - start) / runs


def measure(model: Model, grammar: str, repeats: int) -> Row:
    """Compare what all methods give on the sample, then time them in turn."""
    device = model.placement.device.type
    captions = captions_of(grammar)
    tokens = model.tokens.matrix(captions)
    some = np.random.default_rng(0).permutation(len(captions))[: SAMPLES.get((model.name, device), SAMPLE)]
    whole, cut, tree = (model.encoder(method) for method in ("encode_text", "cut_context", "prefix_tree"))
    expected = whole(tokens[some])
    vectors = tree(tokens)
    difference = float(
        torch.stack([(found - expected).abs().max() for found in (vectors[some], cut(tokens[some]))]).max()
    )
    work: dict[str, tuple[int, Callable[[], Tensor]]] = {
        "encode_text": (len(some), lambda: whole(tokens[some])),
        "cut_context": (len(some), lambda: cut(tokens[some])),
        "prefix_tree": (len(captions), lambda: tree(tokens)),
        "texts": (len(captions), lambda: tree(model.tokens.matrix(captions))),
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, (_, run) in work.items():
            seconds[name].append(timed(run))
    speed = {name: count / statistics.median(seconds[name]) for name, (count, _) in work.items()}
    equal = difference <= LARGEST_DIFFERENCE[model.placement.dtype]
    paths = _paths(model, tokens)
    return Row(
        model=model.name,
        grammar=grammar,
        precision=str(model.placement.dtype).removeprefix("torch."),
        captions=len(captions),
        longest=paths.width,
        context=tokens.shape[1],
        nodes_a_caption=paths.nodes / len(captions),
        **speed,
        difference=difference,
        ratio=speed["prefix_tree"] / speed["encode_text"] if equal else None,
        ratio_to_cut=speed["prefix_tree"] / speed["cut_context"] if equal else None,
    )


def _paths(model: Model, tokens: NDArray[np.int32]) -> TokenPaths:
    tower = causal_tower(model.clip)
    assert isinstance(tower, CausalTower)  # noqa: S101
    return TokenPaths.of(tokens, tower.lengths(tokens))[0]


def show(rows: list[Row], about: dict[str, str]) -> None:
    """Print the machine and the table."""
    console = Console(width=140)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    console.print("captions a second, and how many times as fast the prefix tree is")
    columns = ("model", "grammar", "captions", "longest", "nodes each")
    speeds = ("encode_text", "cut context", "prefix tree", "texts", "differ by")
    table = Table(*columns, *speeds, "x encode_text", "x cut")
    for row in rows:
        ratios = ["differ" if ratio is None else f"{ratio:.1f}x" for ratio in (row.ratio, row.ratio_to_cut)]
        table.add_row(
            row.model,
            row.grammar,
            str(row.captions),
            f"{row.longest} of {row.context}",
            f"{row.nodes_a_caption:.2f}",
            *(f"{speed:,.0f}" for speed in (row.encode_text, row.cut_context, row.prefix_tree, row.texts)),
            f"{row.difference:.0e}",
            *ratios,
        )
    console.print(table)


def main() -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args()
    about = machine()
    models = (random_vit(choose_device(arguments.device)), bundled(arguments.device))
    rows = [measure(model, grammar, arguments.repeats) for model in models for grammar in GRAMMARS]
    show(rows, about)
    if arguments.write:
        store("captions", about, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
