"""What an audit asks of an index: the extremes of directions that each have a reference of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.index.measuring import BATCH, Clock, K
from benchmarks.index.world import captions, questions, references
from fdgpu import CaptionIndex, ClipEmbedder
from fdgpu.progress import silent

WARM = 2000  # captions of an index that is asked first: what is compiled and allocated once is not counted
FIRST, FIRST_FEW = 1000, 100  # captions of the largest inner products


@dataclass(frozen=True)
class Asked:
    """One line: seconds to encode and to add the captions of one index, and to find ten of each side for all classes.

    ``recall_of_100`` and ``recall_of_1000`` are the shares of these ten among the captions of the largest inner
    products with w / σ, on the easy side, and -w / σ on the hard one.
    """

    kind: str
    captions: int
    dimension: int
    encode_seconds: float
    add_seconds: float
    directions: int
    extremes_seconds: float
    recall_of_100: float
    recall_of_1000: float
    load: float


def ask_as_an_audit(count: int, classes: Sequence[int], repeats: int) -> list[Asked]:
    """Make one index of ``count`` captions, and ask it for several numbers of classes; the least of some times."""
    clip = ClipEmbedder.bundled()
    asked, compared_with = questions(clip, max(classes)), references(clip, max(classes))
    directions, scale = torch.from_numpy(asked.directions).to(compared_with), torch.from_numpy(asked.scale)
    few = CaptionIndex.from_captions(captions(clip, WARM), clip, progress=silent)
    few.extremes(directions, compared_with, scale, K)
    clock, start = Clock(clip), time.perf_counter()
    index = CaptionIndex.from_captions(captions(clip, count), clock, batch_size=BATCH, kind="flat", progress=silent)
    adding = time.perf_counter() - start - clock.seconds
    rows = []
    for q in classes:
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            hardest, easiest = index.extremes(directions[:q], compared_with[:q], scale, K)
            seconds.append(time.perf_counter() - start)
        along = directions[:q] / scale.to(directions)
        hard, easy = _recalls(index, -along, hardest.ids), _recalls(index, along, easiest.ids)
        of_100, of_1000 = np.mean([hard, easy], axis=0).tolist()
        made = (count, directions.shape[1], clock.seconds, adding)
        rows.append(Asked("flat", *made, q, min(seconds), of_100, of_1000, os.getloadavg()[0]))
    return rows


def _recalls(index: CaptionIndex, queries: Tensor, true: Tensor) -> list[float]:
    """Return the shares of ``true`` (q, k) ids among the first 100 and the first 1000 of an inner-product search."""
    ids = index.search(queries, FIRST).ids
    return [
        float(np.mean([np.isin(own, first[:among]).mean() for own, first in zip(true, ids, strict=True)]))
        for among in (FIRST_FEW, FIRST)
    ]
