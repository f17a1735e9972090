"""The same steps as on the CPU, to the last one; compiled, nothing is fused that libsvm rounds in between."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from fdgpu.directions.numba_backend import NumbaBackend
from fdgpu.directions.parameters import SolverSettings
from fdgpu.directions.triton_backend import TritonBackend
from fdgpu.errors import InputError
from fdgpu.kernels import smo_batch
from tests.directions.planting import class_samples, make_classes
from tests.kernels.interpreting import DEVICE, INTERPRETED, comparison
from tools.kernel_usage import SHARED_LIMITS, libsvm_programs

SETTINGS = SolverSettings((1e-3, 1.0), published=True)


@comparison
def test_directions_are_the_cpus_number_by_number() -> None:
    """Of classes of two block sizes; in 20 steps and more, of which after 19 samples are left out for a while."""
    classes = make_classes([19, 12], 8, separation=0.5)
    ours, theirs = (
        backend.open(classes, SETTINGS).one_direction() for backend in (TritonBackend(DEVICE), NumbaBackend(1))
    )
    assert int(theirs.n_iter[0, 0]) > 20
    for name in ("C_index", "cv_scores", "n_iter", "n_errors"):
        assert torch.equal(getattr(ours, name).cpu().double(), getattr(theirs, name).double()), name
    for name in ("coef", "intercept", "violation"):
        torch.testing.assert_close(getattr(ours, name).cpu(), getattr(theirs, name), atol=1e-12, rtol=1e-9)


@comparison
def test_what_was_not_asked_for_or_lacks_a_kind() -> None:
    classes = make_classes([12, 10, 11], 4)
    batches = [backend.open(classes, SETTINGS) for backend in (TritonBackend(DEVICE), NumbaBackend(1))]
    labels = batches[1].layout.labels.clone()
    labels[0, 12:22] = 1  # the second class has no error
    scored = [batch.cross_validate(labels.to(batch.layout.device), [0, 1])[0].cpu() for batch in batches]
    assert torch.equal(scored[0].isnan(), scored[1].isnan())
    assert scored[0][0].isnan().all(dim=(1, 2)).tolist() == [False, True, True]
    assert torch.equal(scored[0].nan_to_num(), scored[1].nan_to_num())
    batch = batches[0]
    index = torch.tensor([[1, -1, 0]], device=batch.layout.device)
    duals = batch.fit(batch.layout.labels, index, [0, 1])
    assert duals.intercept.isnan().tolist() == [[False, True, True]]
    assert not duals.a[0, 12:].any()
    torch.testing.assert_close(
        batch.decide(duals)[0, :12].cpu(),
        batches[1].decide(batches[1].fit(batches[1].layout.labels, index.cpu()))[0, :12],
    )


@pytest.mark.skipif(INTERPRETED, reason="an interpreted kernel cannot be compiled")
@pytest.mark.parametrize("kernel", [0, 1])
def test_they_compile_and_fuse_nothing(kernel: int) -> None:
    program = libsvm_programs(256)[kernel]
    assert program.compile_for(90).shared_bytes <= SHARED_LIMITS[90]
    ptx = program.ptx(90)
    assert re.search(r"\bmul(\.rn)?\.f64", ptx)
    assert not re.search(r"\bfma\.rn\.f64", ptx)


def test_a_class_beyond_a_program_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fdgpu.directions.triton_backend.LARGEST_CLASS", 9)
    rng = np.random.default_rng(0)
    classes = class_samples(rng.normal(size=(10, 3)).astype(np.float32), np.arange(10) % 3 > 0)
    with pytest.raises(InputError, match=r"10 samples.*at most 9; use backend='numba'"):
        TritonBackend("cpu").check(classes, SETTINGS)
    assert smo_batch.LARGEST_CLASS == 8192
