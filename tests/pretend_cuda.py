"""CPU tensors that pretend to lie on a CUDA device, so that whatever would wait for one is found without one.

Inside :func:`pretend_cuda` a tensor on "cuda" is an :class:`OnCuda`, and holds its numbers on the host. Every way down
but :func:`fdgpu.arrays.to_host` raises :class:`HiddenWaitError`: a copy to the host, a number or a truth that is read,
an operation whose result has a size that only the device knows. What mixes devices raises as it does on a real one.

The launchers of Triton kernels have no device to run on. :func:`launched_as` puts a plain twin in their place, which
sees the numbers: what a launcher does inside is tested apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from fdgpu.device import Placement
from fdgpu.directions import triton_backend
from fdgpu.kernels import smo_triton
from fdgpu.kernels.gram_triton import gram_reference
from fdgpu.kernels.smo_batch import cross_validate_reference, fit_reference

aten = torch.ops.aten
CUDA = torch.device("cuda", 0)
# Operations that copy to the host inside, or whose result has a size that the host has to be told.
WAITING = {
    aten._local_scalar_dense, aten.item, aten.is_nonzero, aten.equal, aten.nonzero, aten.masked_select, aten.bincount,
    aten._unique, aten._unique2, aten.unique_dim, aten.unique_consecutive, aten._linalg_check_errors, aten.allclose,
    aten.tensor_split,
}  # fmt: skip
COPIES_UP = {aten.copy_, aten.copy, aten.index, aten.index_put_, aten.index_put, aten._index_put_impl_}


class HiddenWaitError(AssertionError):
    """Something would have waited for the device, outside of ``to_host``."""


class OnCuda(torch.Tensor):
    """A tensor that says it is on a CUDA device; ``inner`` has its numbers."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> OnCuda:
        with torch.inference_mode(False):  # views of a tensor from outside of inference mode are none of its own
            made = torch.Tensor._make_wrapper_subclass(
                cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
                device="meta", requires_grad=False,
            )  # fmt: skip
        made.inner = inner
        return made

    # Only Python is told that this is CUDA: torch's own code would ask the driver about a device that is not there.
    device = property(lambda _: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda _: True)  # type: ignore[assignment]
    is_cpu = property(lambda _: False)  # type: ignore[assignment]
    is_meta = property(lambda _: False)  # type: ignore[assignment]

    def get_device(self) -> int:
        return 0

    def record_stream(self, _: Any) -> None: ...

    def __repr__(self) -> str:  # type: ignore[override]  # torch's own would read the numbers
        return f"OnCuda{tuple(self.shape)}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})

    def cpu(self, *_: Any, **__: Any) -> Any:
        raise HiddenWaitError("cpu() copies to the host: use to_host, and say why")

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise HiddenWaitError("numpy() copies to the host: use to_host, and say why")

    def tolist(self) -> Any:
        raise HiddenWaitError("tolist() copies to the host: use to_host, and say why")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise HiddenWaitError("NumPy copies to the host: use to_host, and say why")

    def __dlpack__(self, *_: Any, **__: Any) -> Any:
        raise HiddenWaitError("DLPack from a pretended device: nothing could take it but by a copy to the host")


def up(value: Any) -> Any:
    """Put the tensors of a value on the pretended device: of a tensor, tuples, lists, dicts and dataclasses."""
    return _over(value, lambda one: one if isinstance(one, OnCuda) else OnCuda(one))


def inner(value: Any) -> Any:
    """Return a value with the numbers of its pretended tensors."""
    return _over(value, lambda one: one.inner if isinstance(one, OnCuda) else one)


def _over(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        changed = {one.name: _over(getattr(value, one.name), change) for one in fields(value) if one.init}
        return replace(value, **changed)
    return tree_map(lambda one: change(one) if isinstance(one, torch.Tensor) else one, value)


def _is_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type in ("cuda", "meta")  # as torch's own code sees an OnCuda


def _with_index(value: Any) -> Any:
    """Name the device by its number: torch would ask the driver for the current one."""
    return CUDA if isinstance(value, (str, torch.device)) and str(value) == "cuda" else value


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Do one operation of torch on the numbers, and refuse what a device would be waited for."""
    given = [one for one in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)]
    there = [one for one in given if isinstance(one, OnCuda)]
    if any(one.is_meta for one in given):
        raise RuntimeError(f"torch's own code made a tensor without numbers for {func}: index by tensors, not by lists")
    packet, device = func.overloadpacket, kwargs.get("device")
    if packet in (aten._pin_memory, aten.pin_memory):
        return args[0].clone()
    if there:
        _refuse_to_wait(packet, args, kwargs)
        goes_down = device is not None and not _is_cuda(device)
        if goes_down and packet in (aten._to_copy, aten.to):
            raise HiddenWaitError(f"a copy of {tuple(there[0].shape)} to the host: use to_host, and say why")
        if packet in (aten.copy_, aten.copy) and not isinstance(args[0], OnCuda):
            raise HiddenWaitError(
                f"a copy of {tuple(args[1].shape)} into a tensor on the host: use to_host, and say why"
            )
        strangers = [one for one in given if not isinstance(one, OnCuda) and one.ndim > 0]
        if strangers and packet not in COPIES_UP:
            raise RuntimeError(f"{func} of tensors on cuda:0 and on the host: {[tuple(one.shape) for one in given]}")
    here = {**kwargs, "device": torch.device("cpu")} if _is_cuda(device) else dict(kwargs)
    if here.get("pin_memory"):
        here["pin_memory"] = False
    result = func(*inner(args), **inner(here))
    goes_up = _is_cuda(device) or (there and not (device is not None and not _is_cuda(device)))
    if not goes_up:
        return result
    if func._schema.is_mutable and args and isinstance(args[0], OnCuda) and result is args[0].inner:
        if result.shape != args[0].shape:
            raise HiddenWaitError(f"{func} resizes a pretended tensor in place, which this mode cannot follow")
        return args[0]
    return tree_map(lambda one: OnCuda(one) if isinstance(one, torch.Tensor) else one, result)


def _refuse_to_wait(packet: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if packet in WAITING:
        raise HiddenWaitError(f"{packet} waits for the device: use to_host, and say why")
    if packet is aten.repeat_interleave and kwargs.get("output_size") is None:
        raise HiddenWaitError("repeat_interleave without output_size asks the device how long its result is")
    if packet is aten.segment_reduce and not kwargs.get("unsafe"):
        raise HiddenWaitError("segment_reduce without unsafe=True checks the lengths on the host")
    if packet in (aten.index, aten.index_put_, aten.index_put, aten._index_put_impl_):
        masks = [one for one in args[1] if one is not None and one.dtype in (torch.bool, torch.uint8)]
        if any(isinstance(one, OnCuda) for one in masks):
            raise HiddenWaitError(
                "a mask as an index asks the device how many it chooses: use where, or indices from the host"
            )


class _Dispatch(TorchDispatchMode):
    """Sees every operation, those that make a tensor on "cuda" too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Sees what builds a tensor out of Python's numbers, which does not pass through the dispatcher."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, given = tree_map(_with_index, (args, dict(kwargs or {})))
        if func is torch.Tensor.new_tensor and isinstance(args[0], OnCuda):
            like, *args = args
            func, given = torch.tensor, {"dtype": like.dtype, "device": CUDA} | given
        if func is torch._has_compatible_shallow_copy_type and any(isinstance(one, OnCuda) for one in args):
            return False  # so that a module makes its parameters anew: with its data exchanged one keeps its numbers
        if func not in (torch.tensor, torch.as_tensor):
            return func(*args, **given)
        if func is torch.as_tensor and isinstance(args[0], OnCuda) and not given:
            return args[0]
        if any(isinstance(one, OnCuda) for one in torch.utils._pytree.tree_leaves(args)):
            raise HiddenWaitError(f"{func.__name__} of a tensor on the device reads its numbers")
        goes_up = _is_cuda(given.pop("device", None))
        given.pop("pin_memory", None)
        made = func(*args, **given)
        return OnCuda(made) if goes_up else made


class Event:
    """What was waited for is done."""

    def synchronize(self) -> None: ...


class Stream:
    """All work is done at once and in order."""

    cuda_stream = 0  # the number of the default one, which DLPack asks for

    def record_event(self) -> Event:
        return Event()

    def wait_event(self, event: Event) -> None: ...

    def wait_stream(self, stream: Stream) -> None: ...


class Here:
    """In place of a pool: what is submitted runs at once, in the thread that pretends."""

    def __init__(self, _: int) -> None: ...

    def submit(self, run: Callable[[], Any]) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(run())
        return done

    def shutdown(self) -> None: ...


def launched_as(twin: Callable[..., Any]) -> Callable[..., Any]:
    """Return a launcher that runs ``twin`` on the numbers, and puts what it gives on the pretended device."""

    def launch(*args: Any, **kwargs: Any) -> Any:
        with torch.utils._python_dispatch._disable_current_modes(), torch._C.DisableTorchFunction():
            found = twin(*(inner(one) for one in args), **{name: inner(one) for name, one in kwargs.items()})
        return up(found)

    return launch


def solve_by_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the Triton kernels of an SVM by their plain twins, launched on the pretended device."""

    def gram_twin(x: torch.Tensor, starts: torch.Tensor, sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        grams, at = gram_reference(x, starts, sizes)
        return grams.float(), at

    monkeypatch.setattr(triton_backend, "gram_matrices", launched_as(gram_twin))
    monkeypatch.setattr(smo_triton, "cross_validate_labels", launched_as(cross_validate_reference))
    monkeypatch.setattr(smo_triton, "fit_labels", launched_as(fit_reference))


PATCHES: dict[str, Any] = {
    "_lazy_init": lambda: None,
    "is_available": lambda: True,
    "device_count": lambda: 1,
    "current_device": lambda: 0,
    "get_device_name": lambda *_: "a pretended device",
    "get_device_capability": lambda *_: (9, 0),
    "get_arch_list": lambda: ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100"],
    "mem_get_info": lambda *_: (1 << 33, 1 << 34),
    "empty_cache": lambda: None,
    "device_of": lambda _: nullcontext(),
    "device": lambda _: nullcontext(),
    "Stream": lambda *_: Stream(),
    "stream": lambda _: nullcontext(),
    "current_stream": lambda *_: Stream(),
    "default_stream": lambda *_: Stream(),
}


@contextmanager
def pretend_cuda(monkeypatch: pytest.MonkeyPatch, precision: torch.dtype = torch.float32) -> Iterator[None]:
    """Pretend that there is one CUDA device.

    Args:
        monkeypatch: of the test; what is patched stays so until the test ends.
        precision: that models compute in there. Half precision is slow on a CPU, and its rounding is tested elsewhere.
    """
    for name, stand_in in PATCHES.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr("fdgpu.arrays._down", inner)
    monkeypatch.setattr("fdgpu.arrays._beside", inner)
    monkeypatch.setattr("fdgpu.embedding.image_file.ThreadPoolExecutor", Here)
    placement = Placement(CUDA, precision, "pretended")
    for module in ("fdgpu.embedding.embedder", "fdgpu.decoding.decoder", "fdgpu.device"):
        monkeypatch.setattr(f"{module}.choose_device", lambda *_, **__: placement)
    with _Functions(), _Dispatch():
        yield
