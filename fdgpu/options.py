"""The options of the command line: what each takes, how it explains itself, and what is refused before any work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from fdgpu.errors import FdgpuError

Out = Annotated[Path, typer.Option(help="Folder for the report and its data; made if it is not there.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random: the same seed gives the same answer.")]
Permutations = Annotated[
    int, typer.Option(min=0, help="Permutations of right and wrong that test every class; 0 tests none.")
]
Directions = Annotated[int, typer.Option(min=1, help="Failure modes to look for in each class.")]
StopAfter = Annotated[
    int,
    typer.Option(
        min=0,
        help="End a class's permutations after that many scores as high as its own, and draw on where they do not "
        "decide; 0 to draw just as many as asked for.",
    ),
]
MinErrors = Annotated[int, typer.Option(min=0, help="Fewest errors of a class that is looked at.")]
Nested = Annotated[bool, typer.Option("--nested", help="Also an unbiased score, by nested cross-validation.")]
Published = Annotated[
    bool,
    typer.Option(
        "--published", help="Reproduce the paper's published code: libsvm's roundings, and captions by its formula."
    ),
]
Clean = Annotated[
    bool,
    typer.Option(
        "--clean", help="Fit without likely wrong labels and duplicates between splits, and say what that changes."
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        help="Solver: auto, numba, triton or cuml; torch for the latent method. One asked for by name runs or fails."
    ),
]
Decode = Annotated[
    bool, typer.Option("--decode", help="Draw the clearest directions with the bundled decoder (model bundled only).")
]
RepairDemo = Annotated[
    bool,
    typer.Option(
        "--repair",
        help="Then mend the model in every way, audit each mended one, and compare; on a quarter of the photographs.",
    ),
]
Device = Annotated[str, typer.Option(help="Where to embed: auto, cpu, cuda, cuda:1, …")]
Precision = Annotated[
    str,
    typer.Option(help="What to embed in: auto (float16 on CUDA, float32 elsewhere), float16, bfloat16 or float32."),
]
Store = Annotated[
    str,
    typer.Option(
        help="Folder that keeps the embeddings: what it holds is not embedded again. auto: embeddings in --out; none: "
        "nothing is kept."
    ),
]
ShardRows = Annotated[
    int | None, typer.Option(min=1, help="Images of a file of a new store; by default about 4096, in whole batches.")
]
Ray = Annotated[
    str | None,
    typer.Option(
        help="Work on a Ray cluster: local, all GPUs of this machine; auto, the cluster that runs here; or HOST:PORT "
        "of its head."
    ),
]
RayGpus = Annotated[
    float | None,
    typer.Option(
        min=0, help="GPUs of each worker of the cluster: 0.5 puts two on one; by default 1 where there are any."
    ),
]
Images = Annotated[
    str,
    typer.Option(
        help="Folder that the paths in the table start from; or a Parquet, tar, zip or .beton file, a pattern of tar "
        "shards, or an address such as s3://…"
    ),
]
ClassifierName = Annotated[
    str,
    typer.Option(help="Model to ask: torchvision:NAME[:WEIGHTS], timm:NAME[:WEIGHTS] or FILE.py:FUNCTION[:WEIGHTS]."),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="CSV or Parquet with the columns path,label and optionally split; by default the folders of the images "
        "are their classes: CLASS/1.jpg, or val/CLASS/1.jpg.",
    ),
]
Columns = Annotated[
    str | None, typer.Option(help="What the table calls its columns: path=filename,label=target, for example.")
]
ClassNamesFile = Annotated[
    Path | None,
    typer.Option(
        exists=True, dir_okay=False, help="Text file with one class name a line, if the table has class numbers."
    ),
]
Outside = Annotated[bool, typer.Option("--allow-outside", help="Take paths that lead out of the folder of images.")]
# The folder is read, not the recipes: to import what reads them takes seconds.
RECIPES = sorted(
    entry.name.removesuffix(".toml")
    for entry in (resources.files("fdgpu") / "captions" / "recipes").iterdir()
    if entry.name.endswith(".toml")
)
PERMUTATIONS, STOP_AFTER = 200, 10  # an audit's (fdgpu.directions.parameters.AUDIT), whose import takes seconds too


class Method(StrEnum):
    """What a failure direction is (fdgpu.directions.parameters.Method), or that the audit chooses."""

    AUTO = "auto"
    SVM = "svm"
    LATENT = "latent"


MethodOption = Annotated[
    Method,
    typer.Option(
        "--method",
        help="svm: the paper's; latent: hidden classes on which the model does worse, by the probability of the true "
        "class where it is known; auto: latent where it is, else svm, and the report says which ran and why.",
    ),
]


class Groups(StrEnum):
    """What is done about images that belong together."""

    AUTO = "auto"
    NONE = "none"


PredictionsFile = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="CSV or Parquet with the columns path,label,prediction,split and optionally confidence, "
        "true_probability and group.",
    ),
]
ClassifierInPlace = Annotated[
    str | None,
    typer.Option(
        help="In place of predictions, the model to ask: torchvision:NAME[:WEIGHTS], timm:NAME[:WEIGHTS] or "
        "FILE.py:FUNCTION[:WEIGHTS]."
    ),
]
Embedder = Annotated[
    str | None,
    typer.Option(
        help="Needed: an open_clip model, ViT-B-32:openai; bundled, which knows the demo's garments only; or another "
        "network without captions, features:torchvision:resnet50 or features:timm:NAME."
    ),
]
EmbedderNeeded = Annotated[
    str,
    typer.Option("--model", help="What embeds them: an open_clip model, ViT-B-32:openai; bundled; or features:NAME."),
]
Grammar = Annotated[
    str | None,
    typer.Option(
        help="Candidate captions: a file of sentences (.txt, .csv, .tsv, .parquet or .jsonl), a TOML file of your own, "
        f"or a recipe: {', '.join(RECIPES)}."
    ),
]
CaptionerName = Annotated[
    str | None,
    typer.Option(
        help="In place of a grammar, what describes the errors: the name or folder of an image-text-to-text model of "
        "transformers."
    ),
]
GroupsOption = Annotated[
    Groups,
    typer.Option(
        help="auto: the CSV's column group, or else near-duplicates, count as one piece of evidence; none: every "
        "image counts as its own."
    ),
]
Slices = Annotated[
    str,
    typer.Option(
        help="Known columns to test beside directions: camera,site,age; auto, every further column of the table; none."
    ),
]
Conjunctions = Annotated[int, typer.Option(min=1, max=3, help="Most values of known columns that are taken together.")]
SliceUnknown = Annotated[
    bool, typer.Option("--slice-unknown", help="Test an empty cell of a known column as a value, unknown, too.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images at a time; halved when memory runs out.")]
ReducedDecoding = Annotated[
    bool,
    typer.Option(
        "--reduced-decoding", help="Decode JPEGs much larger than the model's input at a fraction of their size."
    ),
]


# --- what a command refuses before any work --------------------------------------------------------------------------


@contextmanager
def usage(option: str | None = None) -> Iterator[None]:
    """Make an error of ours wrong usage, of an option where that is known: nothing was done yet."""
    try:
        yield
    except FdgpuError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def check_device(device: str, precision: str = "auto") -> None:
    """Refuse a device that is not here, or a precision that it does not have."""
    from fdgpu.device import choose_device

    with usage("--device"):
        choose_device(device)
    with usage("--precision"):
        choose_device(device, precision)


def check_images(images: str, option: str = "--images") -> None:
    """Refuse what is not there; addresses and patterns are looked at by the source."""
    if not Path(images).exists() and not set("*?[{") & set(images) and "://" not in images:
        raise typer.BadParameter(f"{images!r} does not exist", param_hint=option)


def renamed_columns(text: str | None) -> dict[str, str] | None:
    """Read path=filename,label=target."""
    if text is None:
        return None
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(name.strip() and other.strip() for name, _, other in pairs):
        raise typer.BadParameter(f"{text!r} is not of the form path=filename,label=target", param_hint="--columns")
    return {name.strip(): other.strip() for name, _, other in pairs}


def class_names_of(file: Path | None) -> list[str] | None:
    """Read a file of class names."""
    from fdgpu.auditing.columns.class_names import read_class_names

    with usage("--class-names"):
        return None if file is None else read_class_names(file)
