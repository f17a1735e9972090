r"""Support vector machines without a Gram matrix, for classes too large for one: proximal Newton steps on the dual.

The problem is :mod:`fdgpu.kernels.smo_numba`'s. Divided by C, with bounds :math:`l_i \le h_i \le u_i` that do not
depend on C (:math:`a = C h`), the proximal point method on the dual repeats

.. math:: h \leftarrow \mathrm{clip}(h + \rho\,(y - X w - b),\; l,\; u),

where (w, b) minimises :math:`\|w\|^2 / 2C` plus the hinge losses, smoothed to a width of :math:`1/\rho`. That function
is piecewise quadratic; its generalised Hessian is :math:`I/C + \rho X_J^T X_J` over the few samples J that the clip
leaves between their bounds, so that Newton's method ends in a handful of steps, each of them products of X with a few
vectors and one d x d system, whatever n is. The clip puts a sample exactly at its bound; the stop is libsvm's, the
maximal KKT violation of a with w = Xᵀa computed afresh.

What it costs: 20 to 80 Newton steps for a C, three passes over X each. SMO takes about n steps of two rows of K each,
which is less where K is there, and a hundred times more where every row is a product with X.

Problems (folds, permutations, modes) are rows of one batch, so that one pass over X serves all of them. The method is
plain matrix products: it runs through torch, on the CPU and on a CUDA device alike, in the precision of X; sums over
samples are float64. Its plain twin is :func:`fdgpu.kernels.smo_sheets.solve_reference`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch

from fdgpu.errors import InputError

# Rows of X that a product sums in X's own precision. On a CPU also what makes it fast: over a long sum, the product of
# a few rows with a tall matrix runs at a tenth of the memory's rate
CHUNK = {"cpu": 1024, "cuda": 16384}
LARGEST_PART = 8192  # samples between their bounds whose Hessian is summed in X's own precision
LOOKS = 20  # at most, along one step
SETTLED = 0.1  # of the slope at the start of a step may be left at its end


@dataclass(frozen=True)
class Launch:
    """How the penalty grows and when a step is good enough, and why.

    - ``first_penalty`` 10 and ``growth`` 5: measured on 10 000 samples of ranks 48 and 400 these take the fewest steps
      of starts at 1, 10, 100 and growths of 5, 10, 30: 96 and 126 over a path. A start at 100 takes 60 % more: its J
      misses what is still to move.
    - ``largest_penalty``: beyond it the rounding of a residual, times the penalty, is a part of the box; a growth of 30
      walked into that and never came out. With it held, the method still converges, linearly.
    - ``inner`` is the gradient, relative to w, at which the smoothed problem counts as solved; the KKT violation, not
      this, decides the end.
    - ``most_steps`` for one C, as a bound on what never took more than 120.
    """

    largest_penalty: float
    first_penalty: float = 10.0
    growth: float = 5.0
    inner: float = 1e-3
    inner_steps: int = 40
    most_steps: int = 600

    @classmethod
    def choose(cls, dtype: torch.dtype) -> Launch:
        """Choose for X of ``dtype``."""
        return cls(largest_penalty=2e3 if dtype == torch.float32 else 1e7)


class PathPoint(NamedTuple):
    """P solutions at one C.

    ``a`` (P, n) dual, y·alpha; ``decisions`` (P, n) w·x + b of all samples; ``intercept``, ``violation`` and ``n_iter``
    (Newton steps at this C), (P,). NaN where both kinds of labels are not there.
    """

    a: torch.Tensor
    decisions: torch.Tensor
    intercept: torch.Tensor
    violation: torch.Tensor
    n_iter: torch.Tensor


# --- products with X ------------------------------------------------------------------------------------------------


def along(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """X w for each row of ``w`` (P, d): (P, n) float64."""
    return (x @ w.to(x.dtype).T).T.contiguous().double()  # this way round is three times faster on a CPU


def combined(x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """Xᵀ a for each row of ``a`` (P, n): (P, d), summed in float64 over chunks."""
    total = torch.zeros((len(a), x.shape[1]), dtype=torch.float64, device=x.device)
    rows = CHUNK[x.device.type]
    for part, of_part in zip(x.split(rows), a.split(rows, dim=1), strict=True):
        total += (of_part.to(x.dtype) @ part).double()
    return total


# --- the box ---------------------------------------------------------------------------------------------------------


@dataclass
class Problems:
    """P problems over the same n samples: labels y (P, n) and the box of h = a / C."""

    x: torch.Tensor
    y: torch.Tensor
    lower: torch.Tensor
    upper: torch.Tensor

    @classmethod
    def balanced(cls, x: torch.Tensor, labels: torch.Tensor) -> Problems:
        """Weigh both kinds of label alike in total, s(y) = m / (2 m_y); a label 0 has a box of nothing."""
        y = labels.double()
        right, wrong = (y > 0).sum(dim=1, keepdim=True), (y < 0).sum(dim=1, keepdim=True)
        m = (right + wrong).double()
        zero = torch.zeros((), dtype=torch.float64, device=y.device)
        upper = torch.where(y > 0, m / (2 * right), zero)
        lower = torch.where(y < 0, -m / (2 * wrong), zero)
        return cls(x, y, lower, upper)

    def __getitem__(self, rows: torch.Tensor) -> Problems:
        return Problems(self.x, self.y[rows], self.lower[rows], self.upper[rows])

    def clip(self, h: torch.Tensor) -> torch.Tensor:
        """Move h into the box."""
        return torch.clamp(h, self.lower, self.upper)

    def violation(self, h: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (gap, b) of h with residuals v = y − ``values``: the KKT violation, and libsvm's rule for b."""
        v = self.y - values
        inf = torch.inf
        may_rise, may_fall = h < self.upper, h > self.lower
        top = torch.where(may_rise, v, -inf).amax(dim=1)
        bottom = torch.where(may_fall, v, inf).amin(dim=1)
        free = may_rise & may_fall
        n_free = free.sum(dim=1)
        mean = torch.where(free, v, 0.0).sum(dim=1) / n_free.clamp(min=1)
        return top - bottom, torch.where(n_free > 0, mean, (top + bottom) / 2)


# --- Newton's method on the smoothed problem --------------------------------------------------------------------------


@dataclass
class State:
    """Where P problems stand: h (P, n), w (P, d), b (P,), values X w (P, n), Newton steps taken (P,)."""

    h: torch.Tensor
    w: torch.Tensor
    b: torch.Tensor
    values: torch.Tensor
    steps: torch.Tensor

    def __getitem__(self, rows: torch.Tensor) -> State:
        return State(*(getattr(self, name)[rows] for name in ("h", "w", "b", "values", "steps")))

    def put(self, rows: torch.Tensor, other: State) -> None:
        """Write what was computed for ``rows`` back."""
        for name in ("h", "w", "b", "values", "steps"):
            getattr(self, name)[rows] = getattr(other, name)


def _minimise(problems: Problems, state: State, cost: float, penalty: float, launch: Launch) -> None:
    """Minimise the smoothed problem around ``state.h`` over (w, b), in place."""
    anchor = state.b.clone()
    moving = torch.arange(len(state.b), device=state.b.device)
    for _ in range(launch.inner_steps):
        own, now = problems[moving], state[moving]
        target = now.h + penalty * (own.y - now.values - now.b[:, None])
        clipped = own.clip(target)
        hold = 1e-8 * penalty  # keeps b where no sample lies between its bounds
        gradient_w = now.w / cost - combined(own.x, clipped)
        gradient_b = hold * (now.b - anchor[moving]) - clipped.sum(dim=1)
        small = gradient_w.norm(dim=1) <= launch.inner * (now.w.norm(dim=1) / cost).clamp(min=1e-12)
        left = ~(small & (gradient_b.abs() <= 1e-9 * own.upper.sum(dim=1)))
        if not left.any():
            return
        moving, own, now = moving[left], own[left], now[left]
        gradient_w, gradient_b, target = gradient_w[left], gradient_b[left], target[left]
        step_w, step_b = _newton_step(own, target, gradient_w, gradient_b, cost, penalty, hold)
        moved = along(own.x, step_w)
        length = _line_search(
            own, target, penalty * (moved + step_b[:, None]),
            (gradient_w * step_w).sum(dim=1) + gradient_b * step_b,
            (step_w**2).sum(dim=1) / cost + hold * step_b**2,
            (now.w * step_w).sum(dim=1) / cost + hold * (now.b - anchor[moving]) * step_b,
            penalty,
        )  # fmt: skip
        now.w += length[:, None] * step_w
        now.b += length * step_b
        now.values += length[:, None] * moved
        now.steps += 1
        state.put(moving, now)


def _newton_step(
    problems: Problems,
    target: torch.Tensor,
    gradient_w: torch.Tensor,
    gradient_b: torch.Tensor,
    cost: float,
    penalty: float,
    hold: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Solve the Newton system of every problem: (P, d) and (P,)."""
    x, d = problems.x, problems.x.shape[1]
    between = (target > problems.lower) & (target < problems.upper)
    hessian = torch.zeros((len(target), d + 1, d + 1), dtype=torch.float64, device=x.device)
    for own, inside in zip(hessian, between, strict=True):
        rows = x[inside.nonzero()[:, 0]]
        for part in rows.split(LARGEST_PART):
            own[:d, :d] += (part.T @ part).double()
        own[:d, d] = own[d, :d] = rows.sum(dim=0, dtype=torch.float64)
        own[d, d] = len(rows)
    hessian *= penalty
    hessian[:, range(d), range(d)] += 1 / cost
    hessian[:, d, d] += hold
    step = torch.linalg.solve(hessian, -torch.cat([gradient_w, gradient_b[:, None]], dim=1))
    return step[:, :d], step[:, d]


def _line_search(
    problems: Problems,
    target: torch.Tensor,
    shift: torch.Tensor,
    slope: torch.Tensor,
    curvature: torch.Tensor,
    of_squares: torch.Tensor,
    penalty: float,
) -> torch.Tensor:
    """Find a length t at which the slope has fallen to a tenth: (P,).

    The slope rises along the step, so that its zero is bracketed; regula falsi with Illinois' halving closes in on it
    in about four looks, where bisection takes a dozen.

    Args:
        problems: P.
        target: (P, n) what is clipped at t = 0.
        shift: (P, n) by how much it falls for t = 1.
        slope: (P,) at t = 0, negative.
        curvature: (P,) of the quadratic part.
        of_squares: (P,) the quadratic part's own slope at t = 0.
        penalty: ρ.
    """
    length = torch.ones_like(slope)
    low, high = torch.zeros_like(slope), torch.full_like(slope, torch.inf)
    at_low, at_high = slope.clone(), torch.ones_like(slope)
    for _ in range(LOOKS):
        clipped = problems.clip(torch.addcmul(target, length[:, None], shift, value=-1))
        now = of_squares + length * curvature - torch.linalg.vecdot(clipped, shift) / penalty
        left = now.abs() > SETTLED * slope.abs()
        if not left.any():
            break
        falls = now < 0
        # the end that stays counts half, so that it does not stay for good
        at_low, at_high = torch.where(falls, now, at_low / 2), torch.where(falls, at_high / 2, now)
        low, high = torch.where(falls, length, low), torch.where(falls, high, length)
        crossing = (low * at_high - high * at_low) / (at_high - at_low)
        length = torch.where(left, torch.where(high.isinf(), 2 * length, crossing), length)
    return length


# --- launcher --------------------------------------------------------------------------------------------------------


def newton_path(
    x: torch.Tensor,
    labels: torch.Tensor,
    costs: Sequence[float],
    *,
    tol: float,
    max_iter: int,
    launch: Launch | None = None,
) -> Iterator[PathPoint]:
    """Solve P problems over the same samples for every C of an ascending path, each from the one before.

    Args:
        x: (n, d) unit rows, float32 or float64, on any device.
        labels: (P, n) int8 on the same device: +1 right, -1 wrong, 0 for a sample that takes no part.
        costs: C > 0, ascending.
        tol: largest KKT violation; below 1e-5 x has to be float64.
        max_iter: most Newton steps for one C.
        launch: how the penalty grows; chosen by x's type if None.

    Yields:
        One :class:`PathPoint` a C.

    Raises:
        InputError: if shapes or types are not these.
    """
    _check(x, labels, costs)
    launch = launch or Launch.choose(x.dtype)
    solvable = ((labels > 0).any(dim=1) & (labels < 0).any(dim=1)).nonzero()[:, 0]
    problems = Problems.balanced(x, labels[solvable])
    h = problems.lower + problems.upper  # all alphas at their bounds, which is optimal for every small C
    w = combined(x, h)
    state = State(
        h, w, torch.zeros(len(h), dtype=torch.float64, device=x.device), along(x, w), torch.zeros_like(solvable)
    )
    last = 1.0
    for cost in costs:
        state.w, state.values = state.w * (cost / last), state.values * (cost / last)
        last = cost
        violation = _solve(problems, state, cost, tol, min(max_iter, launch.most_steps), launch)
        yield _spread(labels, solvable, cost, state, violation)


def _solve(problems: Problems, state: State, cost: float, tol: float, most_steps: int, launch: Launch) -> torch.Tensor:
    """Bring every problem's KKT violation to ``tol`` at one C, in place; (P,) violations."""
    state.steps.zero_()
    violation, middle = problems.violation(state.h, state.values)
    state.b = torch.where(violation <= tol, middle, torch.where(state.b == 0, middle, state.b))
    penalty = launch.first_penalty
    open_ = (violation > tol).nonzero()[:, 0]
    while len(open_):
        own, now = problems[open_], state[open_]
        _minimise(own, now, cost, penalty, launch)
        now.h = own.clip(now.h + penalty * (own.y - now.values - now.b[:, None]))
        now.w = cost * combined(own.x, now.h)
        now.values = along(own.x, now.w)
        gap, intercept = own.violation(now.h, now.values)
        # where it is solved the rule decides b; elsewhere the next round starts from the b that belongs to its w
        now.b = torch.where(gap <= tol, intercept, now.b)
        violation[open_] = gap
        state.put(open_, now)
        open_ = open_[(gap > tol) & (now.steps < most_steps)]
        penalty = min(penalty * launch.growth, launch.largest_penalty)
    return violation


def _spread(
    labels: torch.Tensor, solvable: torch.Tensor, cost: float, state: State, violation: torch.Tensor
) -> PathPoint:
    """Put the solved problems in their places among all."""
    p, n = labels.shape
    a, decisions = (torch.full((p, n), torch.nan, dtype=torch.float64, device=labels.device) for _ in range(2))
    intercept, gap = (torch.full((p,), torch.nan, dtype=torch.float64, device=labels.device) for _ in range(2))
    steps = torch.full((p,), -1, dtype=torch.int64, device=labels.device)
    a[solvable], decisions[solvable] = cost * state.h, state.values + state.b[:, None]
    intercept[solvable], gap[solvable], steps[solvable] = state.b, violation, state.steps
    return PathPoint(a, decisions, intercept, gap, steps)


def _check(x: torch.Tensor, labels: torch.Tensor, costs: Sequence[float]) -> None:
    if x.ndim != 2 or x.dtype not in (torch.float32, torch.float64):
        raise InputError(f"x is {x.dtype} {tuple(x.shape)}: pass (n, d) rows of float32 or float64")
    if labels.dtype != torch.int8 or labels.ndim != 2 or labels.shape[1] != len(x):
        raise InputError(f"labels is {labels.dtype} {tuple(labels.shape)}: pass (P, {len(x)}) int8, a problem a row")
    if labels.device != x.device:
        raise InputError(f"labels is on {labels.device}, x on {x.device}: put both on one device")
    if not len(costs) or min(costs) <= 0 or any(b <= a for a, b in pairwise(costs)):
        raise InputError(f"costs is {list(costs)}: pass C > 0 in ascending order")
