from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.significance.audits import Pictures, any_significant, fit_as_audited, seen_pictures
from benchmarks.significance.planting import draw_frames
from fdgpu import ClipEmbedder
from fdgpu.cli import app
from fdgpu.directions import near_duplicates
from fdgpu.errors import FdgpuWarning
from fdgpu.files import write_png


def test_frames_share_the_look_of_their_object_and_its_answer_but_for_those_turned() -> None:
    data, groups = draw_frames(3, 10, 16, (2, 5), 0.3, 0.0, seed=0)
    assert data.x.shape == (len(groups), 16)
    assert [len(np.unique(groups[data.labels == k])) for k in range(3)] == [10, 10, 10]
    answers = [set(data.right[groups == g].tolist()) for g in np.unique(groups)]
    assert all(len(own) == 1 for own in answers)
    assert sum(own == {False} for own in answers) == 9
    same = np.mean([data.x[i] @ data.x[i + 1] for i in range(len(groups) - 1) if groups[i] == groups[i + 1]])
    assert same > 0.8
    turned, _ = draw_frames(3, 10, 16, (2, 5), 0.3, 0.5, seed=0)
    assert (turned.right != data.right).any()


def test_an_audit_of_pictures_is_the_fit_of_its_cached_vectors(tmp_path: Path) -> None:
    """What the benchmark counts is what ``fdgpu audit`` says, through files, the command line and audit.json."""
    pictures = seen_pictures(12, 3)
    kept = np.flatnonzero(pictures.labels < 2)
    pictures = Pictures(pictures.pixels[kept], pictures.labels[kept], pictures.objects[kept])
    right = pictures.answers(0.4, seed=5)
    lines = ["path,label,prediction,split"]
    for i, picture in enumerate(pictures.pixels):
        write_png(tmp_path / "images" / f"{i:03d}.png", picture.permute(1, 2, 0).contiguous().numpy())
        label = int(pictures.labels[i])
        lines.append(f"{i:03d}.png,{label},{label if right[i] else 1 - label},val")
    (tmp_path / "p.csv").write_text("\n".join(lines))
    command = ["audit", "--images", str(tmp_path / "images"), "--predictions", str(tmp_path / "p.csv"), "--out"]
    with pytest.warns(FdgpuWarning, match="the bundled CLIP"):
        done = CliRunner().invoke(app, [*command, str(tmp_path / "out"), "--model", "bundled", "--seed", "5"])
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "out" / "audit.json").read_text())
    vectors = ClipEmbedder.bundled().images(pictures.pixels)
    groups = near_duplicates(vectors, pictures.labels)
    fit = fit_as_audited(vectors, pictures.labels, right, groups, seed=5)
    assert [one["p_value"] for one in document["classes"]] == fit.p_value_[:, 0].tolist()
    assert [one["n_permutations"] for one in document["classes"]] == fit.n_permutations_.tolist()
    assert [one["significant"] for one in document["classes"]] == fit.significant_[:, 0].tolist()
    sizes = np.unique(groups, return_counts=True)[1]
    assert document["grouped_by"] == "near-duplicates"
    assert document["n_grouped"] == sizes[sizes > 1].sum() > 40
    assert document["n_groups"] == (sizes > 1).sum()
    assert any("near-duplicates of others" in note for note in document["notes"])
    with pytest.warns(FdgpuWarning, match="the bundled CLIP"):
        alone = CliRunner().invoke(app, [*command, str(tmp_path / "alone"), "--model", "bundled", "--groups", "none"])
    assert alone.exit_code == 0, alone.output
    document = json.loads((tmp_path / "alone" / "audit.json").read_text())
    assert (document["grouped_by"], document["n_grouped"]) == ("nothing", 0)


def test_random_answers_are_seldom_called_a_failure() -> None:
    pictures = seen_pictures(12, 6)
    found = any_significant(pictures, 0.35, 12, grouped=True)
    assert (found > 0).mean() <= 0.25  # P(4 or more of 12 at 0.05) is 0.002
    assert (any_significant(pictures, 0.35, 3, grouped=False) > 0).any()  # frame by frame nearly every audit does


def test_answers_are_drawn_object_by_object() -> None:
    pictures = seen_pictures(10, 2)
    right = pictures.answers(0.3, seed=0)
    for k in range(10):
        own = right[pictures.labels == k].reshape(-1, 2)
        assert (own[:, 0] == own[:, 1]).all()
        assert (~own[:, 0]).sum() == 3
    assert (pictures.answers(0.3, seed=1) != right).any()


def test_near_duplicates_of_the_bundled_world() -> None:
    """Pictures that differ are hardly ever joined; of frames most are found, and what is joined belongs together."""
    clip = ClipEmbedder.bundled()
    alone = seen_pictures(60, 1)
    joined = near_duplicates(clip.images(alone.pixels), alone.labels) != np.arange(600)
    assert joined.mean() <= 0.02
    frames = seen_pictures(20, 6)
    groups = near_duplicates(clip.images(frames.pixels), frames.labels)
    one, other = np.triu_indices(len(groups), 1)
    together, same = groups[one] == groups[other], frames.objects[one] == frames.objects[other]
    assert same[together].mean() >= 0.9  # precision
    assert together[same].mean() >= 0.75  # recall
