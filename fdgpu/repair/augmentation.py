"""More to train on: further images, synthetic or from a pool (paper, 2.3, A.8), and random changes of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from fdgpu.arrays import Array, to_device, to_host, to_torch
from fdgpu.errors import InputError
from fdgpu.networks import as_targets, check_map_style, pair_of

Augment = Callable[[Tensor, torch.Generator], Tensor]


class AugmentedDataset(Dataset[tuple[object, int | Tensor]]):
    """The pairs (image, label) of a Dataset, followed by further images that are arrays (paper, 2.3, A.8).

    Labels are whole numbers; where an image has several, they are (k,) floats of 0 and 1. ``n_added`` says how many
    images were added; the last ``n_added`` indices are theirs.

    Args:
        base: map-style, of (image, label).
        images: (m, …) to add; kept on the CPU, where a DataLoader collates.
        labels: (m,) class ids, or (m, k) of 0 and 1, as ``base`` has them; on the CPU.
        transform: of each added image.

    Raises:
        InputError: if ``base`` has no length, its items are no pairs, or the added ones do not go into one batch with
            them.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> own = TensorDataset(torch.zeros(8, 3, 32, 32), torch.arange(8) % 2)
        >>> len(AugmentedDataset(own, torch.ones(3, 3, 32, 32), [0, 0, 1]))
        11
    """

    def __init__(
        self, base: Dataset[object], images: Tensor, labels: Tensor, transform: Callable[[Tensor], object] | None = None
    ) -> None:
        check_map_style(base)
        self.images = torch.from_numpy(to_host(images, "added images, for a DataLoader")).to(images.dtype)
        self.base, self.labels, self.transform = base, labels, transform
        self.n_base, self.n_added = len(base), len(images)  # type: ignore[arg-type]
        if self.n_base and self.n_added:
            self._check_alike()

    def __len__(self) -> int:
        return self.n_base + self.n_added

    def __getitem__(self, index: int) -> tuple[object, int | Tensor]:
        own = index + len(self) if index < 0 else index
        if not 0 <= own < len(self):
            raise IndexError(f"index {index} of {len(self)} samples")
        if own < self.n_base:
            image, label = pair_of(self.base[own], self.base)
            return image, _label(label)
        image = self.images[own - self.n_base]
        return image if self.transform is None else self.transform(image), _label(self.labels[own - self.n_base])

    def _check_alike(self) -> None:
        """Images and labels of both kinds go into one batch."""
        own, added = self[0], self[self.n_base]
        for name in ("shape", "dtype"):
            one, other = getattr(own[0], name, None), getattr(added[0], name, None)
            if one != other:
                raise InputError(
                    f"the Dataset's images have {name} {_words(one)}, the added ones {_words(other)}: pass a transform "
                    "that makes the added images what the Dataset gives"
                )
        of_one, of_other = (tuple(getattr(label, "shape", ())) for _, label in (own, added))
        if of_one != of_other:
            raise InputError(
                f"the Dataset's labels have shape {of_one}, the added ones {of_other}: pass (m,) class ids where the "
                "Dataset has class ids, and (m, k) of 0 and 1 where it has (k,)"
            )


def augmented(
    dataset: Dataset[object], images: Array, labels: Array, transform: Callable[[Tensor], object] | None = None
) -> AugmentedDataset:
    """Add images to a training set, to be fine-tuned or trained on (paper, 2.3, A.8).

    Args:
        dataset: map-style, of (image, label); ``TensorDataset(images, labels)`` where they are tensors.
        images: (m, 3, h, w) to add, for example what a :class:`fdgpu.Decoder` made of the hard captions.
        labels: (m,) whole class ids, or (m, k) of 0 and 1 where the data set's images have several labels.
        transform: of each added image, on the CPU; has to give what the data set gives.

    Raises:
        InputError: for numbers that differ, labels that are no class ids, images or labels that are not like the data
            set's, or a data set without a length or of other items than pairs.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> own = TensorDataset(torch.rand(8, 3, 32, 32), torch.arange(8) % 2)
        >>> len(augmented(own, torch.rand(3, 3, 32, 32), [0, 0, 1]))
        11
    """
    pictures = to_torch(images, "images")
    if pictures.ndim != 4:
        raise InputError(f"images has shape {tuple(pictures.shape)}: pass (m, 3, h, w)")
    return AugmentedDataset(dataset, pictures, _labels(labels, len(pictures)), transform)


def _labels(labels: Array, m: int) -> Tensor:
    """Return (m,) integers, or (m, k) floats, on the host."""
    targets = as_targets(labels)
    if len(targets) != m:
        raise InputError(f"labels has {len(targets)} entries, images has {m}: pass one label an image")
    if targets.ndim == 2 and not bool(((targets == 0) | (targets == 1)).all()):
        raise InputError("labels (m, k) holds something else than 0 and 1: pass 1 where a label applies, else 0")
    return targets


def _label(label: Array) -> int | Tensor:
    """Return a class id, or several labels of one image as (k,) floats."""
    own = torch.from_numpy(to_host(to_torch(label, "the Dataset's label"), "the Dataset's label"))
    if own.ndim == 1:
        return own.float()
    if own.ndim == 0 and float(own).is_integer():
        return int(own)
    raise InputError(f"the Dataset's label is {label!r}: it has to be a whole class id, or (k,) of 0 and 1")


def _words(kind: object) -> str:
    return str(tuple(kind) if isinstance(kind, torch.Size) else kind)


def randomly_changed(
    inputs: Tensor,
    generator: torch.Generator,
    *,
    flip: bool = True,
    shift: int = 0,
    cutout: int = 0,
    fill: Sequence[float] = (0.0,),
) -> Tensor:
    """Mirror half of the images, move each by up to ``shift`` pixels in both directions, and cover a square of each.

    Args:
        inputs: (n, c, h, w) floats, on any device.
        generator: on the CPU.
        flip: whether to mirror.
        shift: largest shift.
        cutout: side of the square, which lies wholly inside; 0 covers nothing.
        fill: the colour of what comes in and of the square, c numbers or one.
    """
    n, _, h, w = inputs.shape
    mirrored = to_device((torch.rand(n, generator=generator) < 0.5) & flip, inputs.device)
    moved = to_device(torch.randint(-shift, shift + 1, (2, n), generator=generator), inputs.device)
    rows = torch.arange(h, device=inputs.device) + moved[0, :, None]
    columns = torch.arange(w, device=inputs.device) + moved[1, :, None]
    kept = _within(rows, 0, h)[:, :, None] & _within(columns, 0, w)[:, None, :]  # (n, h, w)
    if cutout:
        corners = [torch.randint(side - cutout + 1, (n, 1), generator=generator) for side in (h, w)]
        top, left = (to_device(one, inputs.device) for one in corners)
        in_rows, in_columns = (
            _within(torch.arange(side, device=inputs.device), start, start + cutout)
            for side, start in ((h, top), (w, left))
        )
        kept &= ~(in_rows[:, :, None] & in_columns[:, None, :])
    columns = torch.where(mirrored[:, None], w - 1 - columns, columns)
    image = torch.arange(n, device=inputs.device)[:, None, None]
    # (n, h, w, c): indices of three dimensions beside a slice put the slice's dimension last
    taken = inputs[image, :, rows.clamp(0, h - 1)[:, :, None], columns.clamp(0, w - 1)[:, None, :]]
    colour = to_device(torch.tensor(fill, dtype=inputs.dtype), inputs.device)
    return torch.where(kept[..., None], taken, colour).movedim(-1, 1).contiguous(memory_format=torch.channels_last)


def flip_and_shift(inputs: Tensor, generator: torch.Generator, pixels: int = 4) -> Tensor:
    """Mirror half of the images, and move each by up to ``pixels`` in both directions; what comes in is black.

    Example:
        >>> flip_and_shift(torch.ones(2, 3, 32, 32), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 32, 32])
    """
    return randomly_changed(inputs, generator, shift=pixels)


def _within(values: Tensor, first: Tensor | int, last: Tensor | int) -> Tensor:
    return (values >= first) & (values < last)
