"""The peers solve what they say they solve, and a peer that found something else gets no ratio."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.svm import SVC

from benchmarks.device.solving import EstimatorLoop
from benchmarks.speed import measuring
from benchmarks.speed.comparison import Comparison, Fitted, Oracle, compare
from benchmarks.speed.data import SHAPES, Problem, Shape, make
from benchmarks.speed.measuring import Effort, Fitting, Timed, measure, peer_row
from benchmarks.speed.peers import AllCores, AuthorsLoop, GramLoop, Liblinear, Peer, Solved
from benchmarks.speed.rows import DIFFERENT, OTHER_OBJECTIVE

SHAPE = Shape("3 classes of 100 to 140 x 24", (100, 120, 140), 24, timed=(0, 2))
SVC_LOOP = EstimatorLoop("SVC", lambda cost: SVC(kernel="linear", class_weight="balanced", C=cost), np.asarray)
PEERS: list[Peer] = [AuthorsLoop(), AllCores(AuthorsLoop(), 2), GramLoop(), SVC_LOOP]
TOL, CV = 1e-3, 2


@pytest.fixture(scope="module")
def problem() -> Problem:
    return make(SHAPE)


@pytest.fixture(scope="module")
def fitting(problem: Problem) -> Fitting:
    fitted = Fitting(problem, "numba")
    fitted()
    return fitted


@pytest.fixture(scope="module")
def fitted(fitting: Fitting) -> Fitted:
    return Fitted.of(fitting.estimator)


def solve(peer: Peer, problem: Problem, costs: tuple[float, ...]) -> dict[int, Solved]:
    return {k: peer.solve(problem.x[problem.rows(k)], problem.right[problem.rows(k)], costs, CV) for k in SHAPE.timed}


def row_of(peer: Peer, compared: Comparison) -> measuring.Row:
    side = Timed(peer, times=[3.0, 1.0, 2.0])
    return peer_row(SHAPE, side, own_s=0.01, compared=compared, device="CPU")


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_of_the_same_objective_finds_what_fdgpu_finds(
    peer: Peer, problem: Problem, fitting: Fitting, fitted: Fitted
) -> None:
    costs = fitting.estimator.Cs
    compared = compare(Oracle(problem, costs, CV), fitted, peer, solve(peer, problem, costs), TOL)
    assert compared.equal
    assert compared.w <= 2e-3
    assert compared.scores_compared >= 4
    row = row_of(peer, compared)
    assert row.ratio == pytest.approx(2.0 / 2 / 0.01)  # the median, a class
    assert (row.result, row.timed) == ("100x", "2 of 3 (100, 140)")


@pytest.mark.parametrize("peer", [GramLoop(), SVC_LOOP], ids=lambda peer: peer.name)
def test_they_agree_with_the_authors_loop_to_the_last_score(peer: Peer, problem: Problem) -> None:
    costs = (1e-2, 1e-1, 1.0)
    loop, other = solve(AuthorsLoop(), problem, costs)[2], solve(peer, problem, costs)[2]
    np.testing.assert_allclose(other.scores, loop.scores)
    ((best, coef),) = other.coef.items()
    assert best == costs[int(np.argmax(loop.scores))]
    np.testing.assert_allclose(coef, loop.coef[best], atol=1e-3 * np.linalg.norm(coef))


def wrong_w(found: Fitted) -> Fitted:
    return replace(found, coef=found.coef * np.float32(1.003))


def no_w(found: Fitted) -> Fitted:
    return replace(found, coef=np.full_like(found.coef, np.nan))


def wrong_score(found: Fitted) -> Fitted:
    return replace(found, scores=found.scores + np.array([0, 0, 0, 0, 0, 0, 0.2]))


def no_score(found: Fitted) -> Fitted:
    return replace(found, scores=np.full_like(found.scores, np.nan))


@pytest.mark.parametrize("spoil", [wrong_w, no_w, wrong_score, no_score], ids=lambda spoil: spoil.__name__)
def test_a_wrong_result_gets_no_ratio(spoil, problem: Problem, fitting: Fitting, fitted: Fitted) -> None:
    peer, costs = GramLoop(), fitting.estimator.Cs
    compared = compare(Oracle(problem, costs, CV), spoil(fitted), peer, solve(peer, problem, costs), TOL)
    assert not compared.equal
    row = row_of(peer, compared)
    assert row.ratio is None
    assert row.result == DIFFERENT
    assert row.peer_s == 1.0  # its time stays


def test_w_is_compared_at_the_c_that_fdgpu_chose(problem: Problem, fitting: Fitting, fitted: Fitted) -> None:
    peer, costs = GramLoop(), fitting.estimator.Cs
    elsewhere = {k: replace(solved, coef={99.0: np.zeros(24)}) for k, solved in solve(peer, problem, costs).items()}
    assert compare(Oracle(problem, costs, CV), fitted, peer, elsewhere, TOL).equal


def test_liblinear_is_marked_even_where_it_happens_to_agree() -> None:
    row = row_of(Liblinear(), Comparison(0.0, 0.0, 7, equal=True))
    assert row.ratio is None
    assert row.result == OTHER_OBJECTIVE


def test_liblinear_solves_another_problem(problem: Problem) -> None:
    x, right = problem.x[problem.rows(0)], problem.right[problem.rows(0)]
    ours, theirs = AuthorsLoop().coef(x, right, 0.1), Liblinear().coef(x, right, 0.1)
    assert np.linalg.norm(theirs - ours) > 2e-3 * np.linalg.norm(ours)


def test_a_peer_out_of_time_takes_part_once_and_copies_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "seconds", lambda run, device: (run(), 8.0)[1])  # noqa: ARG005
    peers: list[Peer] = [AuthorsLoop(), AllCores(GramLoop(), 2)]
    small = Shape.even("2 x 64 x 16", 2, 64, 16)
    fdgpu, loop, pool = measure(small, peers, "numba", Effort(rounds=3, budget_s=10.0))
    assert (fdgpu.rounds, loop.rounds, pool.rounds) == (3, 2, 2)
    assert (fdgpu.fdgpu_s, loop.fdgpu_s, loop.peer_s, pool.peer_s) == (4.0, 4.0, 8.0, 4.0)
    assert pool.line == "scikit-learn, all 2 cores"


def test_ragged_classes_are_compared_with_the_same_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    took = iter([1.0, 6.0, 3.0])  # the peer, all classes, the peer's classes
    monkeypatch.setattr(measuring, "seconds", lambda run, device: (run(), next(took))[1])  # noqa: ARG005
    fdgpu, peer = measure(SHAPE, [GramLoop()], "numba", Effort(1, 10.0))
    assert (fdgpu.fdgpu_s, fdgpu.total_s) == (2.0, 6.0)
    assert (peer.peer_s, peer.fdgpu_s) == (0.5, 1.5)
    assert peer.ratio == pytest.approx(1 / 3)


def test_the_shapes_are_those_that_were_promised() -> None:
    sizes = {name: (shape.classes, min(shape.sizes), max(shape.sizes), shape.d) for name, shape in SHAPES.items()}
    assert sizes == {
        "cifar10": (10, 1000, 1000, 512),
        "celeba": (2, 3590, 3590, 512),
        "imagenet20": (1000, 256, 256, 512),
        "imagenet50k": (1000, 50, 50, 768),
        "chestxray14": (28, 200, 8000, 512),
    }
    assert [name for name, shape in SHAPES.items() if shape.ragged] == ["chestxray14"]


def test_drawn_rows_are_unit_vectors_of_their_class(problem: Problem) -> None:
    assert problem.sizes == list(SHAPE.sizes)
    np.testing.assert_allclose(np.linalg.norm(problem.x, axis=1), 1, atol=1e-6)
    some = problem.only((0, 2))
    assert (some.sizes, set(some.labels)) == ([100, 140], {0, 2})
    np.testing.assert_array_equal(some.x[some.rows(1)], problem.x[problem.rows(2)])
