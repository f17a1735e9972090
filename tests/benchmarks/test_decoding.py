"""The plain pipeline of the benchmark is the batched loop's twin, and the job compares before it times."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from benchmarks.decoding import speed
from benchmarks.decoding.plain import PlainPipeline, call_kandinsky, small_kandinsky
from benchmarks.decoding.speed import Job
from fdgpu.decoding import Decoder
from fdgpu.decoding.decoder import WEIGHTS, BundledNet
from tests.decoding.tiny import random_net


@pytest.fixture
def net(tmp_path: Path) -> BundledNet:
    return random_net(tmp_path)


def job() -> Job:
    references, directions = F.normalize(torch.randn(2, 2, 128, generator=torch.Generator().manual_seed(0)), dim=2)
    return Job(references, directions, (0.2,), (3, 4), 2, 2.0)


def test_both_ways_give_the_same_pictures(net: BundledNet, tmp_path: Path) -> None:
    pipeline = PlainPipeline.beside(net, tmp_path / WEIGHTS)
    row = speed.row(Decoder(net), pipeline, job(), net.device, net.dtype, repeats=1)
    assert row["pictures"] == 12
    assert row["largest difference"] < 1e-4
    assert row["ratio, a direction a call"] > 0


def test_kandinskys_own_call_gives_the_same_pictures() -> None:
    pipeline = small_kandinsky(32, 128)
    decoder = Decoder.from_diffusers(pipeline, length=1.0)
    assert decoder.size == (64, 64)
    call = partial(call_kandinsky, pipeline)
    row = speed.row(decoder, call, replace(job(), seeds=(3,)), torch.device("cpu"), torch.float32, repeats=1)
    assert row["largest difference"] < 1e-4


def test_no_ratio_where_they_differ(net: BundledNet) -> None:
    row = speed.row(
        Decoder(net), lambda _vector, _job, own: torch.zeros(len(own), 3, 32, 32), job(), net.device, net.dtype, 1
    )
    assert row["largest difference"] > 0.1
    assert row["ratio, a direction a call"] is None
    assert row["ratio, a picture a call"] is None
