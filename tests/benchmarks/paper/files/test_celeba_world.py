"""Subsets of CelebA's splits: their sizes, that seeds draw them, and that images are embedded once."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.paper.files import celeba_world
from benchmarks.paper.files.celeba_world import group_sizes, on_files, subset
from benchmarks.paper.sets import Marked
from fdgpu.errors import InputError
from tests.benchmarks.paper.files.tiny import write_celeba

GROUPS = list(product((0, 1), (0, 1)))  # young, male
SETTINGS: dict[str, Any] = {
    "recipe": "celeba", "workers": 0, "per_class": 10, "held_out_each": 2,
    "decoder": "a/pipeline", "decoder_clip": "ViT-L-14:openai",
}  # fmt: skip


class CountingClip:
    """Gives every file its number as its vector, and counts calls."""

    def __init__(self, name: str = "ViT-B-32:openai") -> None:
        self.name, self.calls = name, 0

    def images(self, paths: list[Path]) -> Tensor:
        self.calls += 1
        return torch.tensor([[float(path.stem)] for path in paths])


def marked(sizes: dict[tuple[int, bool], int]) -> Marked:
    counts = torch.tensor(list(sizes.values()))
    labels, minority = (torch.tensor([key[i] for key in sizes]).repeat_interleave(counts) for i in (0, 1))
    return Marked(torch.zeros(len(labels)), labels, labels, minority)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    split_of = [0] * 8 + [1] * 3 + [2]  # of each group
    write_celeba(tmp_path, [(young, male, split) for young, male in GROUPS for split in split_of])
    return tmp_path


@pytest.mark.parametrize(
    ("strength", "sizes"), [(1, (15508, 15507)), (2, (20677, 10338)), (4, (24812, 6203)), (8, (27569, 3446))]
)
def test_a_class_has_the_papers_number_of_faces_where_there_are_enough(strength: float, sizes: tuple[int, int]) -> None:
    many = marked({(0, False): 28000, (0, True): 16000, (1, False): 30000, (1, True): 20000})
    majority, minority = group_sizes(many, strength, 31015)
    assert majority + minority == 31015
    assert (majority, minority) == sizes


@pytest.mark.parametrize("strength", [1, 2, 3, 4, 5, 6, 7, 8])
def test_with_fewer_faces_the_ratio_stays_and_a_group_is_used_up(strength: float) -> None:
    few = marked({(0, False): 430, (0, True): 210, (1, False): 520, (1, True): 300})
    majority, minority = group_sizes(few, strength, 31015)
    assert majority <= 430
    assert minority <= 210
    assert majority + minority >= min(210 * (1 + strength), 430 * (1 + strength) / strength) - 1
    assert abs(majority - strength * minority) < 1 + strength


def test_a_smaller_subset_is_part_of_a_larger_one_and_the_seed_draws_it() -> None:
    faces = marked({(0, False): 9, (0, True): 5, (1, False): 8, (1, True): 4})
    small, large, other = subset(faces, 4, 2, 0), subset(faces, 6, 3, 0), subset(faces, 4, 2, 1)
    assert set(small.tolist()) < set(large.tolist())
    assert small.tolist() != other.tolist()
    for label in (0, 1):
        of_class = faces[large].labels == label
        assert int(faces[large].minority[of_class].sum()) == 3
        assert int(of_class.sum()) == 9
    with pytest.raises(InputError, match=r"9 old of the majority, 5 old of the minority, .* 5 of each minority"):
        subset(faces, 1, 5, 0)
    with pytest.raises(InputError, match="0 young of the minority: the correlation needs faces in every group"):
        group_sizes(marked({(0, False): 1, (0, True): 1, (1, False): 1}), 1, 5)


def test_sets_are_what_was_asked_for_and_every_split_is_embedded_once(folder: Path) -> None:
    clip = CountingClip()
    world_of = on_files(clip, SETTINGS, folder)
    world = world_of(0)
    val, test, train, pool = world.val(), world.test(), world.train(4), world.pool(4)
    assert torch.stack([val.labels, val.kinds]).T.tolist() == [list(group) for group in GROUPS for _ in range(2)]
    assert test.labels.tolist() == [0, 0, 1, 1]
    assert train.labels.tolist() == [0] * 10 + [1] * 10
    for label, majority_kind in ((0, 1), (1, 0)):
        assert int((train.kinds[train.labels == label] == majority_kind).sum()) == 8
    assert train.minority.sum() == 4
    names = [path.name for seen in (train, pool) for path in seen.marked.images]
    assert len(set(names)) == len(names) == 32
    assert [float(path.stem) for path in train.marked.images] == train.embeddings[:, 0].tolist()
    assert len(train.inputs) == 20
    assert [int(train.inputs[row][1]) for row in (0, 19)] == [0, 1]
    assert world_of(1).val().marked.images != val.marked.images
    for seed, strength in product((0, 1), (1, 8)):
        world_of(seed).train(strength)
    assert clip.calls == 3


def test_a_validation_split_that_is_too_small_is_refused(folder: Path) -> None:
    settings: dict[str, Any] = SETTINGS | {"held_out_each": 1795}
    with pytest.raises(InputError, match=r"the split has 3 old of the majority, .*1795 of each minority are asked for"):
        on_files(CountingClip(), settings, folder)(0).val()


def test_a_pipeline_of_another_space_is_said_at_once_and_never_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(celeba_world, "load_decoder", lambda *_: pytest.fail("the pipeline was loaded"))
    world_of = on_files(CountingClip(), SETTINGS, folder)
    words = " ".join(capsys.readouterr().out.split())
    assert words == (
        "without decoded faces: a/pipeline decodes vectors of ViT-L-14:openai, not of ViT-B-32:openai: "
        "use --clip ViT-L-14:openai"
    )
    assert world_of(0).painter() is None
    assert world_of(1).painter() is None
    assert capsys.readouterr().out == ""


def test_faces_are_decoded_where_the_space_is_the_pipelines(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Grey:
        def sample(self, vectors: Tensor, seed: int) -> Tensor:
            return torch.full((len(vectors), 3, 8, 8), seed / 10)

    clip, asked = CountingClip("ViT-L-14:openai"), []
    monkeypatch.setattr(celeba_world, "load_decoder", lambda *given: asked.append(given) or Grey())
    world_of = on_files(clip, SETTINGS, folder)
    pictures = [world_of(seed).painter()(torch.zeros(2, 4), 5) for seed in (0, 1)]
    assert [float(picture.mean()) for picture in pictures] == [0.5, 0.5]
    assert asked == [("a/pipeline", clip)]
    assert capsys.readouterr().out == ""


def test_a_pipeline_that_cannot_be_had_is_left_out_with_a_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    settings = SETTINGS | {"decoder": str(tmp_path / "empty")}
    assert on_files(CountingClip("ViT-L-14:openai"), settings, folder)(0).painter() is None
    assert "without decoded faces: " in capsys.readouterr().out
