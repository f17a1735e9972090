"""The command line: files are looked at before anything is loaded, and an error is a line and no traceback."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from benchmarks import stored
from benchmarks.paper import __main__ as command
from benchmarks.paper.__main__ import EXPERIMENTS, PAPERS_CLIP, command_line, main
from benchmarks.paper.files.images import ImageFiles
from benchmarks.paper.results import Figure
from fdgpu import ClipEmbedder
from fdgpu.errors import ModelError
from tests.benchmarks.paper.files.test_natural_on_files import write_cifar10

MISSING = {
    "celeba": (r"celeba/list_attr_celeba\.txt", r"mmlab\.ie\.cuhk\.edu\.hk"),
    "cifar100": (r"cifar-100-python or \S*cifar-100-binary", r"www\.cs\.toronto\.edu"),
    "cifar10": (r"cifar-10-batches-py or \S*cifar-10-batches-bin", r"www\.cs\.toronto\.edu"),
    "decoding": (r"cifar-10-batches-py or \S*cifar-10-batches-bin", r"www\.cs\.toronto\.edu"),
    "imagenet": ("train", r"www\.image-net\.org"),
    "coloured_mnist": (r"MNIST/raw/train-images-idx3-ubyte or \S*\.gz", r"yann\.lecun\.com"),
    "imagenet_c": ("train", r"www\.image-net\.org"),
    "chestxray14": (r"Data_Entry_2017\.csv or \S*Data_Entry_2017_v2020\.csv", r"nihcc\.app\.box\.com"),
}
Run = Callable[[int], list[Figure]]
MEASURED = [Figure("CV score", "fdgpu", 0.7)]


def test_every_experiment_is_asked_for_its_files() -> None:
    assert list(MISSING) == list(EXPERIMENTS)


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No embedder may be loaded, which without a network ends in its own error, and with one fetches weights."""
    monkeypatch.setattr(ClipEmbedder, "from_name", lambda name: pytest.fail(f"{name} was loaded"))


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run, and return what it says of why it ended."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    return printed.rpartition("error: ")[2]


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize("name", MISSING)
def test_an_empty_folder_is_told_which_file_is_missing_and_where_to_get_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, source = MISSING[name]
    printed = failed(capsys, name, "--data", str(tmp_path))
    assert re.match(rf"{tmp_path}/{path} is missing: get it from http\S*{source}", printed), printed


@pytest.mark.usefixtures("unloaded")
def test_files_of_all_experiments_are_looked_at_before_the_first_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cifar10(tmp_path)
    assert "celeba/list_attr_celeba.txt is missing" in failed(capsys, "cifar10", "celeba", "--data", str(tmp_path))


def test_an_embedder_that_cannot_be_had_is_named_once_files_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cifar10(tmp_path)
    printed = failed(capsys, "cifar10", "--data", str(tmp_path), "--clip", "ViT-B-3:openai", "--seeds", "4")
    assert printed.startswith("cifar10, seed 4: open_clip has no model 'ViT-B-3'")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Run], None]:
    """Put another run instead of CelebA's, whose world is the seed, and results into a folder of this test."""
    for module in (command, stored):
        monkeypatch.setattr(module, "FOLDER", tmp_path)

    def stand_in(run: Run) -> None:
        experiment = replace(
            EXPERIMENTS["celeba"],
            run=run,
            offline=lambda *_: lambda seed: seed,
            on_files=lambda *_: lambda seed: seed,
            conclude=lambda _: [],
        )
        monkeypatch.setitem(EXPERIMENTS, "celeba", experiment)

    return stand_in


@pytest.mark.parametrize(("where", "stored_as"), [(["--offline"], "celeba"), (["--data", "."], "celeba_files")])
def test_what_a_later_seed_runs_into_is_said_and_what_earlier_ones_wrote_stays(
    where: list[str], stored_as: str, toy: Callable[[Run], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(seed: int) -> list[Figure]:
        if seed == 7:
            raise ModelError("the device is gone: plug it in")
        return [Figure("CV score", "fdgpu", seed / 10, 4)]

    toy(run)
    with pytest.raises(SystemExit) as ended:
        main(["celeba", *where, "--write", "--seeds", "3", "5", "7", "9"])
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert err == "python -m benchmarks.paper: error: celeba, seed 7: the device is gone: plug it in\n"
    assert "0.400" in out  # the table of the two seeds that there are
    (row,) = json.loads((tmp_path / "paper" / f"{stored_as}.json").read_text())["rows"]
    assert row["values"] == "0.3000 0.5000"
    assert (tmp_path / "paper" / f"{stored_as}.svg").is_file()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_an_image_that_another_process_cannot_read_is_named_alone(
    toy: Callable[[Run], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")

    def run(_: int) -> list[Figure]:
        files = ImageFiles([tmp_path / "bad.jpg"], torch.zeros(1), 8)
        return list(DataLoader(files, num_workers=1))

    toy(run)
    printed = failed(capsys, "celeba", "--offline")
    assert printed == f"celeba, seed 0: {tmp_path}/bad.jpg is not an image: get this image again\n"


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("cifar10", [], PAPERS_CLIP),
        ("decoding", [], "ViT-L-14:openai"),
        ("cifar10", ["--clip", "bundled"], "bundled"),
        ("cifar10", ["--clip", "ViT-H-14:laion2b_s32b_b79k"], "ViT-H-14:laion2b_s32b_b79k"),
    ],
)
def test_files_are_embedded_by_the_clip_that_was_asked_for(
    name: str, given: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path)
    loaded: list[str] = []
    embedder = ClipEmbedder.bundled("cpu")
    monkeypatch.setattr(ClipEmbedder, "from_name", lambda name: loaded.append(name) or embedder)
    clips: list[Any] = []
    run = replace(EXPERIMENTS[name], run=lambda world: clips.append(world.lab.clip) or MEASURED)
    monkeypatch.setitem(EXPERIMENTS, name, run)
    main([name, "--data", str(tmp_path), "--seeds", "0", *given])
    (clip,) = clips
    assert (clip.name, loaded) == (expected, [])
    assert torch.equal(clip.texts(["a photo of a bag"]), embedder.texts(["a photo of a bag"]))
    assert clip.dimension == embedder.dimension
    assert loaded == [expected]


@pytest.mark.parametrize(("given", "expected"), [([], "bundled"), (["--clip", "bundled"], "bundled")])
def test_offline_the_bundled_clip_embeds(
    given: list[str], expected: str, toy: Callable[[Run], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy(lambda _: MEASURED)
    loaded: list[str] = []
    monkeypatch.setattr(ClipEmbedder, "from_name", loaded.append)
    main(["celeba", "--offline", "--seeds", "0", *given])
    assert loaded == [expected]


@pytest.mark.usefixtures("unloaded")
@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (
            ["celeba", "--offline", "--seeds", "1", "0", "1"],
            "argument --seeds: 1 0 1: give whole numbers of at least 0",
        ),
        (
            ["celeba", "--offline", "--seeds", "0", "-1"],
            "argument --seeds: 0 -1: give whole numbers of at least 0, each",
        ),
        (["celeba", "--offline", "--seeds", "two"], "argument --seeds: invalid int value: 'two'"),
        (["celeb", "--offline"], "argument names: invalid choice: 'celeb' (choose from"),
        (["celeba"], "one of the arguments --offline --data is required"),
    ],
)
def test_arguments_that_cannot_be_are_refused(
    arguments: list[str], printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failed(capsys, *arguments).startswith(printed)


def test_the_help_names_the_clip_that_a_decoder_needs() -> None:
    words = " ".join(command_line().format_help().split())
    decoding, celeba = (EXPERIMENTS[name].document["on_files"] for name in ("decoding", "celeba"))
    assert f"for decoding its pipeline's {decoding['clip']}" in words
    assert f"celeba decodes faces with --clip {celeba['decoder_clip']} alone" in words
