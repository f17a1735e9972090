from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from fdgpu.kernels.draws import Segments
from fdgpu.kernels.folds import Groups, _root, assign_folds, assign_folds_reference

BOTH = pytest.mark.parametrize("assign", [assign_folds, assign_folds_reference])


def segments_of(sizes: list[int]) -> Segments:
    starts = torch.tensor(np.cumsum([0, *sizes]))
    return Segments(starts, torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)))


def groups_of(by_class: list[np.ndarray]) -> Groups:
    """Groups of each class's samples, whatever their ids."""
    found = [np.unique(own, return_inverse=True) for own in by_class]
    counts = [len(ids) for ids, _ in found]
    first = np.cumsum([0, *counts])
    of = np.concatenate([inverse + start for (_, inverse), start in zip(found, first, strict=False)])
    return Groups(segments_of(counts), torch.from_numpy(of), max(counts))


def signs(right: np.ndarray) -> np.ndarray:
    return np.where(right, 1, -1).astype(np.int8)


@st.composite
def enough_of_both(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    cv = draw(st.integers(2, 5))
    right = np.array(draw(st.lists(st.booleans(), min_size=2 * cv, max_size=80)))
    right[:cv], right[cv : 2 * cv] = True, False
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return rng.permutation(right), cv


@BOTH
@settings(max_examples=200)
@given(case=enough_of_both())
def test_folds_are_scikit_learns(assign, case: tuple[np.ndarray, int]) -> None:
    right, cv = case
    folds = assign(torch.from_numpy(signs(right))[None], segments_of([len(right)]), cv)[0].numpy()
    for fold, (_, held) in enumerate(StratifiedKFold(cv).split(np.zeros(len(right)), right)):
        assert np.flatnonzero(folds == fold).tolist() == held.tolist()


@st.composite
def groups_and_labels(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Groups of all sizes, pure and mixed, whose samples do not lie side by side; ids are not numbered from 0."""
    cv, seed = draw(st.integers(2, 4)), draw(st.integers(0, 10_000))
    sizes = draw(st.lists(st.integers(1, 7), min_size=2 * cv, max_size=30))
    rng = np.random.default_rng(seed)
    ids = rng.permutation(len(sizes)) * 3 - 5
    groups = rng.permutation(np.repeat(ids, sizes))
    rate = dict(zip(ids, rng.choice([0.0, 0.2, 0.5, 0.9, 1.0], len(ids)), strict=True))
    right = rng.random(len(groups)) < np.array([rate[one] for one in groups])
    right[:cv], right[-cv:] = True, False
    return groups, right, cv


def scikit_learns(groups: np.ndarray, right: np.ndarray, cv: int) -> np.ndarray:
    folds = np.full(len(right), -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for fold, (_, held) in enumerate(StratifiedGroupKFold(cv).split(np.zeros(len(right)), right, groups)):
            folds[held] = fold
    return folds


@BOTH
@settings(max_examples=200)
@given(case=groups_and_labels())
def test_folds_of_groups_are_scikit_learns(assign, case: tuple[np.ndarray, np.ndarray, int]) -> None:
    groups, right, cv = case
    found = assign(torch.from_numpy(signs(right))[None], segments_of([len(right)]), cv, groups_of([groups]))[0]
    assert found.tolist() == scikit_learns(groups, right, cv).tolist()


@BOTH
@pytest.mark.parametrize("grouped", [False, True])
@settings(max_examples=50)
@given(cases=st.lists(groups_and_labels(), min_size=2, max_size=3), seed=st.integers(0, 999))
def test_classes_labellings_and_samples_that_take_no_part_do_not_meet(assign, grouped: bool, cases, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cv = min(one[2] for one in cases)
    groups, right = [one[0] for one in cases], np.concatenate([one[1] for one in cases])
    labels = np.stack([signs(right), signs(rng.permutation(right)), signs(right)])
    labels[1:, rng.random(len(right)) < 0.3] = 0
    sizes = [len(own) for own in groups]
    found = assign(torch.from_numpy(labels), segments_of(sizes), cv, groups_of(groups) if grouped else None).numpy()
    assert (found[labels == 0] == -1).all()
    for rows, own in zip(np.split(np.arange(len(right)), np.cumsum(sizes)[:-1]), groups, strict=True):
        for labelling, folds in zip(labels[:, rows], found[:, rows], strict=True):
            part = labelling != 0
            if min((labelling > 0).sum(), (labelling < 0).sum()) < cv or len(np.unique(own[part])) < cv:
                continue
            alone = (labelling > 0)[part]
            if grouped:
                expected = scikit_learns(own[part], alone, cv)
            else:
                expected = np.empty(part.sum(), int)
                for fold, (_, held) in enumerate(StratifiedKFold(cv).split(alone, alone)):
                    expected[held] = fold
            assert folds[part].tolist() == expected.tolist()


@pytest.mark.parametrize("exponent", [-4, -3, 0, 5])
def test_roots_are_rounded_as_numpys(exponent: int) -> None:
    """The first numbers below a power of four are those whose roots lie next to the middle of two numbers."""
    below = 2.0**exponent * (1 - np.arange(40) * 2.0**-53)
    values = np.concatenate([below, np.random.default_rng(0).random(10_000), [0.0, 1 / 9, 2 / 3]])
    assert _root(torch.from_numpy(values)).numpy().tobytes() == np.sqrt(values).tobytes()


def test_groups_of_one_are_dealt_out_evenly() -> None:
    right = np.arange(40) % 4 > 0
    folds = assign_folds(torch.from_numpy(signs(right))[None], segments_of([40]), 2, groups_of([np.arange(40)]))[0]
    assert [(folds[right] == fold).sum() for fold in (0, 1)] == [15, 15]
    assert [(folds[~right] == fold).sum() for fold in (0, 1)] == [5, 5]
