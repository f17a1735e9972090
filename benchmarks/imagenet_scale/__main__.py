"""ImageNet from its files to the report: seconds, images a second, bytes and peak memory of every stage.

    python -m benchmarks.imagenet_scale IMAGENET --out results --device cuda      # a folder, tar shards or .beton
    python -m benchmarks.imagenet_scale IMAGENET --out results --predictions FILE
    python -m benchmarks.imagenet_scale --generate miniature                      # the same layouts, generated
    python -m benchmarks.imagenet_scale miniature/tar --out results --model bundled --predictions FILE
    python -m benchmarks.imagenet_scale --synthetic --out results                 # vectors alone, from the fit on
    python -m benchmarks.imagenet_scale --extrapolate --out results               # how the stages grow

IMAGENET holds train/WNID/*.JPEG and val/WNID/*.JPEG, or train*.tar and val*.tar, or train.beton and val.beton. Images
are embedded through a store, and the classifier answers them in the same pass; then the audit is made once more from
the store, and has to find the same. ``--fraction 0.01`` takes a share of the classes, with all their images.
``stages.md`` and ``stages.json`` are written to the folder. Models of torchvision and open_clip come by name with their
weights, which need a network once. ``--write`` also stores figures under ``benchmarks/results``.

A card needs no more than a V100 has: on CUDA images are embedded in half precision, 256 at a time.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.imagenet_scale.extrapolate import SERIES, grown
from benchmarks.imagenet_scale.job import Job, audit_images, audit_vectors
from benchmarks.imagenet_scale.miniature import Miniature, generate
from benchmarks.imagenet_scale.stages import markdown, write
from benchmarks.imagenet_scale.synthetic import World
from benchmarks.machine import machine
from benchmarks.stored import store
from fdgpu.device import choose_device
from fdgpu.files import writable_folder

WORLDS = ("synthetic", "extrapolate")  # what needs no images


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("imagenet", nargs="?", type=Path, help="folder that holds ImageNet in one of its forms")
    parser.add_argument("--out", type=Path, help="folder of the store, the report and the table")
    parser.add_argument("--generate", type=Path, metavar="FOLDER", help="write a miniature in all three forms")
    parser.add_argument("--synthetic", action="store_true", help="vectors of that size in place of images")
    parser.add_argument("--extrapolate", action="store_true", help="fit laws to three sizes, and try them on a fourth")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the classes")
    parser.add_argument("--model", default=Job.model, help="CLIP that embeds, as fdgpu audit takes it")
    parser.add_argument("--classifier", default=Job.classifier, help="that answers in the same pass, by name")
    parser.add_argument("--predictions", type=Path, help="what a classifier said, in its place")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default=Job.precision)
    parser.add_argument("--batch-size", type=int, default=Job.batch_size)
    parser.add_argument("--permutations", type=int, default=Job.permutations)
    parser.add_argument("--rounds", type=int, default=3, help="of --extrapolate, of which the best counts")
    parser.add_argument("--write", action="store_true", help="also store figures under benchmarks/results")
    arguments = parser.parse_args(argv)
    asked = [arguments.imagenet, arguments.generate, *(getattr(arguments, one) or None for one in WORLDS)]
    if sum(one is not None for one in asked) != 1:
        parser.error(f"pass the folder of ImageNet, --generate FOLDER, or one of --{', --'.join(WORLDS)}")
    if arguments.generate is None and arguments.out is None:
        parser.error("--out is missing: the folder of the store, the report and the table")
    return arguments


def _without_folder(argument: str) -> str:
    """Return an argument without the folders that lead to it, which mean nothing on another machine."""
    return Path(argument).name if argument.startswith("/") else argument


def main(argv: Sequence[str] | None = None) -> None:
    """Audit, write the table, and print it."""
    arguments = parse(argv)
    if arguments.generate is not None:
        generate(arguments.generate, Miniature())
        return
    job = Job(
        out=arguments.out,
        model=arguments.model,
        classifier=None if arguments.predictions else arguments.classifier,
        predictions=arguments.predictions,
        device=str(choose_device(arguments.device).device),
        precision=arguments.precision,
        batch_size=arguments.batch_size,
        permutations=arguments.permutations,
    )
    given = sys.argv[1:] if argv is None else argv
    about = machine() | {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", "benchmarks.imagenet_scale", *map(_without_folder, given)]),
    }
    writable_folder(job.out)
    if arguments.extrapolate:
        grew = [grown(series, job, arguments.rounds) for series in SERIES]
        _keep("imagenet_scale_laws", about, [asdict(line) for lines, _ in grew for line in lines], arguments.write)
        _keep("imagenet_scale_memory", about, [asdict(memory) for _, memory in grew], arguments.write)
        return
    if arguments.synthetic:
        rows = audit_vectors(World().share(arguments.fraction), job)
    else:
        rows = audit_images(arguments.imagenet, arguments.fraction, job)
    write(job.out, about, rows)
    print(markdown(about, rows))
    if arguments.write:
        store(
            "imagenet_scale_vectors" if arguments.synthetic else "imagenet_scale", about, [asdict(row) for row in rows]
        )


def _keep(name: str, about: dict[str, str], lines: list[dict[str, Any]], stored: bool) -> None:
    """Print lines as a table, and store them where that was asked for."""
    print("  ".join(f"{what} {value}" for what, value in about.items()), end="\n\n")
    texts = [[f"{value:.4g}" if isinstance(value, float) else str(value) for value in line.values()] for line in lines]
    print("\n".join("| " + " | ".join(cells) + " |" for cells in (lines[0], ["---"] * len(lines[0]), *texts)))
    if stored:
        store(name, about, lines)


if __name__ == "__main__":
    main()
