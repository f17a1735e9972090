"""The pretended device itself: what it forbids, and that it computes what the CPU computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import nn

from fdgpu.arrays import counted_crossings, restorer, to_host, to_numpy, to_torch
from tests.pretend_cuda import HiddenWaitError, OnCuda, inner, launched_as, pretend_cuda, up


@pytest.fixture(autouse=True)
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with pretend_cuda(monkeypatch):
        yield


FORBIDDEN: dict[str, Callable[[torch.Tensor], object]] = {
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to("cpu"),
    "to with a type": lambda x: x.to("cpu", torch.float64),
    "numpy": lambda x: x.numpy(),
    "array": np.asarray,
    "tolist": lambda x: x.tolist(),
    "item": lambda x: x[0, 0].item(),
    "float": lambda x: float(x[0, 0]),
    "int": lambda x: int(x[0, 0]),
    "bool": lambda x: bool((x > 0).all()),
    "if": lambda x: 1 if (x > 0).any() else 0,
    "nonzero": lambda x: x.nonzero(),
    "where of one": lambda x: torch.where(x > 0),
    "a mask that reads": lambda x: x[x > 0],
    "a mask of rows": lambda x: x[x[:, 0] > 0],
    "a mask that writes": lambda x: x.__setitem__(x > 0, torch.zeros(1, device="cuda")[0]),
    "masked_select": lambda x: x.masked_select(x > 0),
    "unique": lambda x: x.unique(),
    "bincount": lambda x: x.flatten().long().bincount(),
    "equal": lambda x: torch.equal(x, x),
    "repeat_interleave": lambda x: torch.repeat_interleave(x[0], x[0].long().abs()),
    "copy_ to the host": lambda x: torch.empty(x.shape).copy_(x),
    "dlpack to NumPy": np.from_dlpack,
    "dlpack": torch.utils.dlpack.from_dlpack,
    "iteration over numbers": lambda x: [float(one) for one in x[0]],
    "tensor of tensors": lambda x: torch.tensor([x[0, 0], x[0, 1]]),
}


@pytest.mark.parametrize("way", FORBIDDEN)
def test_every_way_down_but_one_is_closed(way: str) -> None:
    x = torch.arange(6.0).reshape(2, 3).to("cuda")
    with pytest.raises((HiddenWaitError, RuntimeError, BufferError, TypeError)):
        FORBIDDEN[way](x)


def test_to_host_is_open_and_counted() -> None:
    x = torch.ones(2, 3, device="cuda")
    with counted_crossings() as crossings:
        assert to_host(x + 1, "a test").tolist() == [[2.0] * 3] * 2
        assert to_numpy(x, "x").sum() == 6
        assert restorer(np.empty(0))(x).shape == (2, 3)
    assert [(one.bytes, one.shape) for one in crossings] == [(24, (2, 3))] * 3
    assert crossings[0].why == "a test"


def test_what_is_on_the_host_crosses_nothing() -> None:
    with counted_crossings() as crossings:
        to_host(torch.ones(3), "nothing")
    assert not crossings


def test_it_computes_what_the_cpu_computes() -> None:
    x = torch.randn(5, 4)
    there = x.to("cuda")
    assert isinstance(there, OnCuda)
    assert there.is_cuda
    assert there.device.type == "cuda"
    views = there[:, 1:].T.contiguous()
    views[0] = 7.0
    assert torch.equal(inner(there[:, 1:3][2, -1]), x[2, 2])
    assert torch.equal(inner(there[torch.tensor([4, 0])]), x[[4, 0]])
    views += torch.ones(1, device="cuda")
    rows = there.index_select(0, torch.tensor([3, 1], device="cuda"))
    order = there.sort(dim=1, stable=True).indices
    assert torch.equal(inner(rows), x[[3, 1]])
    assert torch.equal(inner(order), x.sort(dim=1, stable=True).indices)
    assert (inner(views)[0] == 8).all()
    assert isinstance(torch.cat([there, there]), OnCuda)
    assert isinstance(to_torch(there, "x"), OnCuda)


def test_devices_do_not_mix() -> None:
    with pytest.raises(RuntimeError, match="on cuda:0 and on the host"):
        torch.ones(3, device="cuda") + torch.ones(3)
    assert isinstance(torch.ones(3, device="cuda") * torch.tensor(2.0), OnCuda)


def test_a_module_goes_there_and_computes() -> None:
    layer = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)).eval()
    x = torch.randn(2, 3, 4, 4)
    with torch.inference_mode():
        here = layer(x)
        there = layer.to("cuda")(x.to("cuda"))
    torch.testing.assert_close(inner(there), here)


def test_a_launcher_sees_numbers_and_gives_what_is_on_the_device() -> None:
    def twin(x: torch.Tensor, sizes: list[int]) -> tuple[torch.Tensor, int]:
        assert not isinstance(x, OnCuda)
        return x * 2 if bool((x > 0).all()) else x, sizes[0]

    doubled, size = launched_as(twin)(torch.ones(2, device="cuda"), [5])
    assert isinstance(doubled, OnCuda)
    assert (inner(doubled) == 2).all()
    assert size == 5
    assert isinstance(up({"a": torch.ones(1)})["a"], OnCuda)
