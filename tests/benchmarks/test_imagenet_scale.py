"""ImageNet at full size as a script: its generated miniature, its layouts, its meter and its laws."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks.imagenet_scale import extrapolate
from benchmarks.imagenet_scale.__main__ import main, parse
from benchmarks.imagenet_scale.extrapolate import Series, grown
from benchmarks.imagenet_scale.job import Job, audit_images, audit_vectors
from benchmarks.imagenet_scale.law import Law, Prediction, exponent
from benchmarks.imagenet_scale.layout import imagenet, share, wnids
from benchmarks.imagenet_scale.meter import Meter, Usage
from benchmarks.imagenet_scale.miniature import Miniature, generate
from benchmarks.imagenet_scale.reading import rates
from benchmarks.imagenet_scale.synthetic import AT_ONCE, World, write_store
from fdgpu import EmbeddingStore
from fdgpu.errors import InputError

SAID = """
import torch
from torch import nn
from torchvision import transforms
from benchmarks.imagenet_scale.layout import wnids
from fdgpu import Classifier

def said():
    torch.manual_seed(0)
    seen = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])
    linear = nn.Linear(192, 1000)
    linear.bias.data[[0, 500, 999]] += 100  # three outputs are ever the highest
    return Classifier.from_model(nn.Sequential(nn.Flatten(), linear), seen, wnids())
"""
TINY = Miniature(classes=3, train=8, val=12, side=48)
FORMS = ("folder", "tar", "beton")


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("miniature")
    generate(place, TINY)
    return place


# --- the miniature and the layouts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_form_holds_the_miniature_as_imagenet_lies(form: str, miniature: Path) -> None:
    source = imagenet(miniature / form)
    samples = list(source.samples())
    drawn = [(split, one) for split in ("train", "val") for one in TINY.pictures(split)]
    assert [(one.split, one.label) for one in samples] == [(split, one.wnid) for split, one in drawn]
    for sample, (_, one) in list(zip(samples, drawn, strict=True))[::17]:
        held = sample.image() if callable(sample.image) else Path(sample.image).read_bytes()
        assert held == one.jpeg
    assert Image.open(io.BytesIO(drawn[0][1].jpeg)).width == TINY.side
    told = (miniature / form / "predictions.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in told[1:]] == [one.id for one in samples]


def test_names_are_those_of_imagenet(miniature: Path) -> None:
    ids = [one.id for one in imagenet(miniature / "folder").samples()]
    assert ids[0] == "train/n01440764/n01440764_1.JPEG"
    assert "val/n01440764/ILSVRC2012_val_00000001.JPEG" in ids


@pytest.mark.parametrize("form", FORMS)
def test_a_fraction_is_a_share_of_the_classes_with_all_their_images(form: str, miniature: Path) -> None:
    some = [one.label for one in imagenet(miniature / form, 0.002).samples()]
    assert sorted(set(some)) == [wnids()[0], wnids()[-1]]
    assert len(some) == 2 * (TINY.train + TINY.val)


@given(st.floats(0.0005, 1))
def test_a_share_is_of_different_classes_in_their_order(fraction: float) -> None:
    kept = share(fraction)
    assert kept == sorted(set(kept), key=wnids().index)
    assert len(kept) == max(2, round(1000 * fraction))


def test_what_is_not_imagenet_is_said(miniature: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not hold ImageNet: lay there"):
        imagenet(tmp_path)
    with pytest.raises(InputError, match="fraction is 0"):
        imagenet(miniature / "folder", 0)
    for split in ("train", "val"):
        (tmp_path / split / "cat").mkdir(parents=True)
        (tmp_path / split / "cat" / "1.JPEG").write_bytes(next(TINY.pictures(split)).jpeg)
    with pytest.raises(InputError, match="a class 'cat'"):
        imagenet(tmp_path)


# --- vectors of that size ---------------------------------------------------------------------------------------------


def test_vectors_are_drawn_class_by_class_and_the_planted_failure_is_in_them() -> None:
    world = World(train=103, val=60, classes=4, dimension=32)
    blocks = list(world.blocks())
    assert [(one.split, one.label) for one in blocks] == [(split, k) for split in ("train", "val") for k in range(4)]
    assert sum(len(one.ids) for one in blocks) == 163
    assert len({own for one in blocks for own in one.ids}) == 163
    for one in blocks:
        assert one.vectors.dtype == np.float32
        assert np.linalg.norm(one.vectors, axis=1) == pytest.approx(1, abs=1e-6)
        along = one.vectors @ world.direction(one.label)
        assert along[one.hard].mean() < along[~one.hard].mean()
    right, hard = (np.concatenate([getattr(one, name) for one in blocks]) for name in ("right", "hard"))
    assert right[hard].mean() < 0.5 < right[~hard].mean()


def test_a_class_is_the_same_in_a_world_of_more_classes() -> None:
    small, large = (World(train=10 * k, val=5 * k, classes=k, dimension=16) for k in (2, 6))
    mine, other = (
        {(one.split, one.label): one.vectors for one in world.blocks() if one.label < 2} for world in (small, large)
    )
    assert all(np.array_equal(mine[key], other[key]) for key in mine)
    assert World(classes=2001).names[2000] == f"{wnids()[0]}_2"


# --- the meter --------------------------------------------------------------------------------------------------------


def test_a_stage_is_metered_from_its_first_report_to_that_of_another(tmp_path: Path) -> None:
    meter = Meter(stages={"embed images": "embed", "embed captions": "captions", "score captions": "captions"})
    meter("embed images", 0, 10)
    (tmp_path / "file").write_bytes(bytes(3_000_000))
    meter("embed images", 10, 10)
    meter("embed captions", 1, 2)
    held = np.ones(20_000_000)
    meter("score captions", 0, None)
    del held
    meter("page", 0, 1)
    assert len((tmp_path / "file").read_bytes()) == 3_000_000
    meter.end()
    assert list(meter.usage) == ["embed", "captions", "page"]
    embed, captions, page = meter.usage.values()
    assert embed.written >= 3_000_000 > captions.written
    assert page.read >= 3_000_000 > captions.read
    assert captions.host >= 150_000_000 > max(embed.host, page.host)  # a peak is of its own stage
    assert all(usage.seconds > 0 and usage.device is None for usage in meter.usage.values())


def test_a_stage_that_goes_on_is_added_up_and_can_be_divided() -> None:
    meter = Meter()
    for stage in ("fit", "captions", "fit"):
        meter(stage, 0, 1)
    meter.end()
    assert list(meter.usage) == ["fit", "captions"]
    whole = meter.usage["fit"]
    meter.divide("fit", "permutations", whole.seconds / 4)
    assert list(meter.usage) == ["fit", "permutations", "captions"]
    assert meter.usage["fit"].seconds == pytest.approx(3 * meter.usage["permutations"].seconds)
    assert meter.usage["permutations"].host == whole.host
    assert meter.usage["permutations"].cores == pytest.approx(whole.cores / 4)
    assert Usage(1, 2, 3, 4, 5, 6) + Usage(1, 2, 3, 4, 9, None) == Usage(2, 4, 6, 8, 9, 6)


# --- laws -------------------------------------------------------------------------------------------------------------


@given(st.floats(0, 5), st.floats(1e-6, 1e-3), st.floats(1.5, 4))
def test_a_line_is_found_again(fixed: float, each: float, step: float) -> None:
    sizes = [1000 * step**i for i in range(4)]
    found = Prediction.of(sizes, [fixed + each * size for size in sizes])
    assert found.predicted == pytest.approx(found.measured, rel=1e-6)
    assert found.law.power == 1


@given(st.floats(1.2, 3), st.floats(1e-6, 1e-3))
def test_what_grows_faster_than_a_line_is_a_power(power: float, each: float) -> None:
    sizes = [100.0, 300.0, 600.0, 1000.0]
    found = Prediction.of(sizes, [each * size**power for size in sizes])
    assert found.error == pytest.approx(0, abs=1e-6)
    assert found.law.power == pytest.approx(power)
    assert found.law(1e9) == pytest.approx(each * 1e9**power, rel=1e-4)


def test_a_law_never_promises_less_than_nothing_and_says_itself() -> None:
    law = Law.fitted([1e5, 3e5, 6e5], [1.0, 3.3, 6.4])  # a line through these begins below zero
    assert law.fixed == 0
    assert str(Law(1.5, 2e-6)) == "1.5 s + 2e-06 s * x"
    assert str(Law(0, 3e-9, 2.0)) == "3e-09 s * x^2.00"


def test_the_exponent_of_what_grows_and_of_what_does_not() -> None:
    assert exponent([1e5, 3e5, 1e6], [2.0, 6.0, 20.0]) == pytest.approx(1)
    assert exponent([1e5, 3e5, 1e6], [2.0, 2.0, 2.0]) == pytest.approx(0, abs=1e-12)


# --- whole runs -------------------------------------------------------------------------------------------------------

KNOWN = "ignore:The images were embedded by the bundled CLIP"
OF_IMAGES = {"list", "load models", "embed", "reread", "check columns", "near-duplicates", "decisions", "page"}


@pytest.mark.filterwarnings(KNOWN)
@pytest.mark.parametrize("form", ["folder", "tar"])
def test_the_miniature_goes_through_from_its_files_to_the_table(form: str, miniature: Path, tmp_path: Path) -> None:
    place, out = miniature / form, tmp_path / "results"
    told = ["--predictions", str(place / "predictions.csv")]
    main([str(place), "--out", str(out), "--model", "bundled", "--device", "cpu", "--permutations", "5", *told])
    kept = json.loads((out / "stages.json").read_text())
    stages = {row["stage"]: row for row in kept["rows"]}
    assert set(stages) >= OF_IMAGES | {"fit", "permutations", "captions"}
    assert {"commit", "command", "torch"} <= set(kept["machine"])
    n = TINY.classes * (TINY.train + TINY.val)
    assert stages["embed"]["count"] == stages["reread"]["count"] == n
    assert stages["embed"]["written_gb"] > 0
    assert all(row["device_gb"] is None and row["seconds"] >= 0 for row in kept["rows"])
    assert len(EmbeddingStore.open(out / "store")) == n
    assert (out / "report" / "report.html").is_file()
    assert sum(line.startswith("| ") for line in (out / "stages.md").read_text().splitlines()) == len(stages) + 2


@pytest.mark.filterwarnings(KNOWN)
def test_a_classifier_answers_in_the_same_pass(miniature: Path, tmp_path: Path) -> None:
    (tmp_path / "said.py").write_text(SAID)
    job = Job(tmp_path / "results", "bundled", f"{tmp_path / 'said.py'}:said", permutations=0)
    stages = [row.stage for row in audit_images(miniature / "beton", 1.0, job)]
    assert stages[:4] == ["list", "load models", "embed", "reread"]
    assert "permutations" not in stages
    found = json.loads((job.out / "report" / "audit.json").read_text())
    assert found["classifier"]["outputs"] == 1000


def test_vectors_of_a_world_go_through_a_store_to_the_table(tmp_path: Path) -> None:
    world = World(train=60, val=100, classes=2, dimension=32)
    rows = audit_vectors(world, Job(tmp_path, permutations=5))
    assert [row.stage for row in rows][:3] == ["write the store", "reread", "check columns"]
    assert not (tmp_path / "store").exists()
    found = json.loads((tmp_path / "report" / "audit.json").read_text())
    assert found["n_images"] == {"train": 60, "val": 100, "test": 0}
    assert all(one["status"] == "ok" and one["hard_captions"] for one in found["classes"])


def test_a_store_of_a_world_holds_its_blocks_whatever_the_size_of_a_shard(tmp_path: Path) -> None:
    world = World(train=AT_ONCE * 4096 + 11, val=9, classes=3, dimension=2)
    predictions = write_store(world, tmp_path / "store")
    store, blocks = EmbeddingStore.open(tmp_path / "store"), list(world.blocks())
    assert store.ids.to_pylist() == [own for one in blocks for own in one.ids]
    assert np.array_equal(store.rows().take(np.arange(len(store))), np.concatenate([one.vectors for one in blocks]))
    right = np.array(store.labels.to_pylist()) == np.array(predictions)
    assert np.array_equal(right, np.concatenate([one.right for one in blocks]))


def test_the_growth_of_a_series_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extrapolate, "in_a_process", lambda function, *given: function(*given))
    worlds = tuple(World(train=40 * k, val=100 * k, classes=k, dimension=32) for k in (2, 3, 4))
    lines, memory = grown(Series("classes", worlds, ("fit", "page")), Job(tmp_path, permutations=0), rounds=1)
    assert [(line.stage, line.sizes) for line in lines] == [("fit", "2, 3, 4"), ("page", "2, 3, 4")]
    assert all(line.at(4) == pytest.approx(line.predicted) for line in lines)
    assert memory.sizes == "2, 3, 4"
    assert not list(tmp_path.iterdir())


def test_a_store_is_read_beside_dd_and_pyarrow(tmp_path: Path) -> None:
    write_store(World(train=50, val=50, classes=2, dimension=32), tmp_path / "store")
    found = {one.reader: one for one in rates(tmp_path / "store", rounds=1)}
    assert set(found) == {"dd", "fdgpu", "pyarrow"}
    assert found["dd"].of_dd == 1
    assert {path.name for path in tmp_path.iterdir()} == {"store"}


@pytest.mark.parametrize("argv", [[], ["here", "--synthetic", "--out", "there"], ["--read", "--extrapolate"]])
def test_one_thing_is_done_at_a_time(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(argv)
    assert "pass the folder of ImageNet" in capsys.readouterr().err
