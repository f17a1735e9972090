"""Every image as the page lists it: columns class after class, places on the map, neighbours."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fdgpu.auditing import gathering
from fdgpu.auditing.gathering import NEIGHBOURS, image_table, telling_axis
from fdgpu.auditing.images import AuditImages
from fdgpu.directions import FailureDirections
from fdgpu.directions.fit import Fit
from fdgpu.findings import Split, Status
from fdgpu.rows import TensorRows
from tests.auditing.conftest import SHOWN


@pytest.fixture
def fitted(images: AuditImages) -> Any:
    """The first two classes have a direction; vectors are random."""
    vectors = np.random.default_rng(0).normal(size=(len(images.ids), 6)).astype(np.float32)
    fit = FailureDirections(n_directions=2, min_errors=1).fit(vectors, images.inputs.labels, images.inputs.correct)
    return fit.fitted, replace(images, vectors=TensorRows(torch.from_numpy(vectors)))


def test_rows_are_the_shown_images_class_after_class(fitted: tuple[Fit, AuditImages]) -> None:
    fit, images = fitted
    inputs = images.inputs
    order = np.random.default_rng(1).permutation(len(images.ids))
    shuffled = replace(
        images,
        inputs=replace(
            inputs, labels=inputs.labels[order], predictions=inputs.predictions[order], splits=inputs.splits[order],
            confidence=inputs.confidence[order], true_probability=None,
        ),
        ids=[images.ids[i] for i in order], vectors=TensorRows(images.vectors.take(order)),
        decisions=images.decisions[order], readable=order != 3,
    )  # fmt: skip
    table = image_table(fit, shuffled, np.array(shuffled.ids))
    assert table.why == table.paths
    assert sorted(map(int, (p.removesuffix(".png") for p in table.paths))) == [i for i in range(24) if i != 3]
    at = [images.ids.index(path) for path in table.paths]
    assert table.labels.tolist() == sorted(table.labels.tolist()) == inputs.labels[at].tolist()
    assert table.predictions.tolist() == inputs.predictions[at].tolist()
    np.testing.assert_array_equal(table.decisions, images.decisions[at])
    np.testing.assert_array_equal(table.confidence, inputs.confidence[at])
    assert (table.true_probability, table.left_out) == (None, 0)
    found = np.array([status == Status.OK for status in fit.status])
    np.testing.assert_array_equal(np.isfinite(table.across), found[table.labels])


def test_neighbours_have_the_highest_cosine_within_their_class(
    fitted: tuple[Fit, AuditImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, images = fitted
    table = image_table(fit, images)
    x = fit.whitening(images.vectors.take(np.arange(len(images.ids)))).double().numpy()
    for k in range(3):
        own = np.flatnonzero(table.labels == k)
        cosines = x[own] @ x[own].T - 4 * np.eye(len(own))
        expected = own[np.argsort(-cosines, axis=1)[:, :NEIGHBOURS]]
        np.testing.assert_array_equal(table.neighbours[own], expected)
    monkeypatch.setattr(gathering, "COMPARED", 3)  # every third image of eight is compared with
    few = image_table(fit, images).neighbours
    assert set((few[few >= 0] % SHOWN).tolist()) <= {0, 3, 6}
    assert not (few == np.arange(len(few))[:, None]).any()
    assert ((few >= 0).sum(axis=1) == 2).all()


def test_of_too_many_images_the_hardest_of_each_class_are_listed(
    fitted: tuple[Fit, AuditImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, images = fitted
    monkeypatch.setattr(gathering, "MOST", 12)
    table = image_table(fit, images)
    assert (len(table.paths), table.left_out) == (12, 12)
    assert np.bincount(table.labels).tolist() == [4, 4, 4]
    assert {"0.png", "1.png"} <= set(table.paths)  # decisions -4 and -3


def test_a_class_of_one_image_has_no_neighbours(fitted: tuple[Fit, AuditImages]) -> None:
    fit, images = fitted
    alone = replace(images, readable=np.isin(np.arange(24), [0, 8, 9]))
    table = image_table(fit, alone)
    assert table.neighbours.tolist() == [[-1] * 4, [2, -1, -1, -1], [1, -1, -1, -1]]
    none = image_table(fit, replace(images, readable=np.zeros(24, bool), shown_from=Split.TEST))
    assert (none.paths, none.neighbours.shape) == ((), (0, NEIGHBOURS))


@pytest.mark.parametrize(("seed", "n"), [(0, 60), (1, 61), (2, 300)])
def test_the_second_axis_is_the_wide_one_that_tells_right_from_wrong(seed: int, n: int) -> None:
    """Axis 0 is the direction, the widest of all; axis 1 is wide and tells nothing; axis 2 is less wide and tells."""
    rng = np.random.default_rng(seed)
    correct = np.arange(n) % 3 > 0
    x = rng.normal(size=(n, 8)) * np.array([30, 8, 1, 0.1, 0.1, 0.1, 0.1, 0.1])
    x[:, 2] += np.where(correct, 3, -3)
    direction = torch.eye(8)[0]
    along = telling_axis(torch.from_numpy(x).float(), direction, torch.from_numpy(correct)).numpy()
    rest = x[:, 2] - x[:, 2].mean()
    assert np.corrcoef(along, rest)[0, 1] > 0.8
    assert along.std() == pytest.approx(1, abs=1e-3)
    moved = telling_axis(torch.from_numpy(x + 50 * np.eye(8)[0]).float(), direction, torch.from_numpy(correct))
    np.testing.assert_allclose(along, moved.numpy(), atol=5e-3)


@pytest.mark.parametrize("d", [3, 9])
def test_images_that_are_all_alike_lie_in_one_place(d: int) -> None:
    along = telling_axis(torch.ones(5, d), torch.eye(d)[0], torch.tensor([True, False, True, True, True]))
    assert along.tolist() == [0] * 5


def test_few_images_lie_as_many_would() -> None:
    """By the Gram matrix, of fewer images than dimensions, and by the covariance it is the same."""
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(12, 30)) * 5 * 0.6 ** np.arange(30)).float()
    correct = torch.arange(12) % 3 > 0
    by_gram = telling_axis(x, torch.eye(30)[29], correct)
    by_covariance = telling_axis(torch.cat([x, x, x]), torch.eye(30)[29], correct.repeat(3))
    np.testing.assert_allclose(by_gram, by_covariance[:12], atol=1e-3)
