"""Batches that threads write: in any order, of any layout, and what becomes of images that do not fit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fdgpu.embedding.loading import Written, image_threads, stacked
from fdgpu.errors import InputError


def image(value: int, dtype: torch.dtype = torch.uint8, channels_last: bool = False) -> Tensor:
    made = torch.arange(3 * 4 * 5).reshape(3, 4, 5).add(value).to(dtype)
    return made.permute(1, 2, 0).contiguous().permute(2, 0, 1) if channels_last else made


@given(order=st.permutations(range(6)), missing=st.sets(st.integers(0, 5)), channels_last=st.booleans())
def test_images_come_in_any_order_and_some_do_not(order: list[int], missing: set[int], channels_last: bool) -> None:
    written = Written(6, 2)
    kept = {}
    for row in order:
        if row not in missing:
            kept[row] = written.put(row, (image(row, channels_last=channels_last), image(row + 50).float()))
    rows = sorted(kept)
    for number, expected in ((0, [image(row) for row in rows]), (1, [image(row + 50).float() for row in rows])):
        whole = written.whole(number, rows, [kept[row][number] for row in rows])
        assert len(whole) == len(rows)
        assert not rows or torch.equal(whole, torch.stack(expected))


def test_a_whole_batch_is_no_copy_and_keeps_the_order_of_its_images() -> None:
    for channels_last in (False, True):
        written = Written(3, 1)
        kept = [written.put(row, (image(row, channels_last=channels_last),))[0] for row in range(3)]
        whole = written.whole(0, range(3), kept)
        assert all(one.data_ptr() == whole[row].data_ptr() for row, one in enumerate(kept))
        assert (whole.stride(1) == 1) is channels_last


def test_an_image_of_another_type_makes_all_floats() -> None:
    for first, second in ((torch.uint8, torch.float32), (torch.float32, torch.uint8)):
        written = Written(2, 1)
        kept = [written.put(row, (image(row, dtype),))[0] for row, dtype in enumerate((first, second))]
        whole = written.whole(0, range(2), kept)
        assert whole.dtype == torch.float32
        expected = [
            image(row) / 255 if dtype is torch.uint8 else image(row).float()
            for row, dtype in enumerate((first, second))
        ]
        assert torch.equal(whole, torch.stack(expected))


def test_an_image_of_another_shape_is_refused() -> None:
    written = Written(2, 1)
    kept = [written.put(0, (image(0),))[0], written.put(1, (image(0)[:, :3],))[0]]
    with pytest.raises(InputError, match=r"of different shapes, \(3, 4, 5\) and \(3, 3, 5\)"):
        written.whole(0, range(2), kept)
    assert stacked([]).shape == (0, 3, 1, 1)


def test_many_threads_write_one_batch() -> None:
    written = Written(64, 1)
    with image_threads() as pool:
        kept = list(pool.map(lambda row: written.put(row, (image(row),))[0], range(64)))
    assert torch.equal(written.whole(0, range(64), kept), torch.stack([image(row) for row in range(64)]))


def test_each_thread_of_images_computes_alone_and_no_other_does() -> None:
    before = torch.get_num_threads()
    with image_threads() as pool:
        assert set(pool.map(lambda _: torch.get_num_threads(), range(20))) == {1}
    assert torch.get_num_threads() == before
    with ThreadPoolExecutor(1) as other:
        assert other.submit(torch.get_num_threads).result() == before
