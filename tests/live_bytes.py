"""Counts the bytes of all tensors that live at once, so that a formula for them can be held against the truth."""

from __future__ import annotations

import weakref
from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Within it, ``peak`` is the most bytes that tensors made there held at once; what kernels take is not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = self._live = 0
        self._users: Counter[int] = Counter()  # tensors that share a storage
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and id(tensor) not in self._known:
                self._count(tensor)
        self.peak = max(self.peak, self._live)
        return made

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        self._known.add(id(tensor))
        self._live += 0 if self._users[storage.data_ptr()] else storage.nbytes()
        self._users[storage.data_ptr()] += 1
        weakref.finalize(tensor, self._forget, id(tensor), storage.data_ptr(), storage.nbytes())

    def _forget(self, tensor: int, storage: int, size: int) -> None:
        self._known.discard(tensor)
        self._users[storage] -= 1
        self._live -= 0 if self._users[storage] else size
