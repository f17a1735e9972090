"""Several conditions an image, each a problem of its own (paper, C.3), in pictures of several garments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import fdgpu
from fdgpu import ClipEmbedder
from fdgpu.auditing import AuditResult
from fdgpu.demo.renderer import draw_attributes, draw_scene, render
from fdgpu.demo.settings import world_settings
from fdgpu.demo.world import load_photographs

N = 800
CONDITIONS = ("boot", "bag", "trouser")


@pytest.fixture(scope="session")
def garments() -> dict[str, Any]:
    """Pictures of one to three garments; the model misses bags on white, and sees boots in what is red."""
    world, rng = world_settings(), np.random.default_rng(0)
    pixels, kinds = load_photographs("val")
    generator = torch.Generator().manual_seed(0)
    attributes = draw_attributes(N, generator)
    attributes.framing[:] = world.code("framing", "group of")
    scene = draw_scene(attributes, kinds[:N], generator)
    there = rng.random((N, len(CONDITIONS))) < 0.5
    there[~there.any(axis=1), 2] = True
    photographs = [np.flatnonzero(kinds == world.class_names.index(name)) for name in CONDITIONS]
    for row, own in enumerate(there):
        chosen = [int(rng.choice(photographs[j])) for j in np.flatnonzero(own)]
        scene.count[row] = len(chosen)
        scene.garments[row, : len(chosen)] = torch.tensor(chosen)
    on_white = attributes.background.numpy() == world.code("background", "white")
    red = attributes.colour.numpy() == world.code("colour", "red")
    logits = np.where(there, 2.0, -2.0) + 0.8 * rng.normal(size=there.shape)
    logits[on_white & there[:, 1], 1] -= 3.6
    logits[red & ~there[:, 0], 0] += 3.6
    splits = np.where(np.arange(N) % 8 < 2, "train", np.where(np.arange(N) % 8 < 5, "val", "test"))
    return {
        "images": render(pixels, scene), "labels": there.astype(int), "predictions": logits,
        "class_names": CONDITIONS, "splits": splits.tolist(), "on_white": on_white, "red": red,
    }  # fmt: skip


def arguments(garments: dict[str, Any]) -> dict[str, Any]:
    return {name: garments[name] for name in ("images", "labels", "predictions", "class_names", "splits")}


@pytest.fixture(scope="session")
def audited(garments: dict[str, Any], clip: ClipEmbedder, tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    out = tmp_path_factory.mktemp("conditions")
    return fdgpu.audit(**arguments(garments), embedder=clip, out=out)


def test_x(audited, garments):
    for c in audited.findings.classes:
        print(
            c.name,
            c.condition,
            c.status,
            c.n,
            c.n_errors,
            round(c.cv_score, 3),
            c.q_value,
            [s.caption for s in c.hard_captions[:3]],
        )
    print(audited.findings.conditions, audited.findings.notes, audited.out)
    d = audited.decisions
    print(d.shape)
    import shutil

    shutil.copytree(audited.out, "/tmp/w-tasks/out", dirs_exist_ok=True)
