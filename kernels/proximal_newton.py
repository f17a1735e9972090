r"""Support vector machines without a Gram matrix, for classes too large for one: proximal Newton steps on the dual.

The problem is :mod:`fdgpu.kernels.smo_numba`'s. Divided by C, with bounds :math:`l_i \le h_i \le u_i` that do not
depend on C (:math:`a = C h`), the proximal point method on the dual repeats

.. math:: h \leftarrow \mathrm{clip}(h + \rho\,(y - X w - b),\; l,\; u),

where (w, b) minimises :math:`\|w\|^2 / 2C` plus the hinge losses, smoothed to a width of :math:`1/\rho`. That function
is piecewise quadratic; its generalised Hessian is :math:`I/C + \rho X_J^T X_J` over the few samples J that the clip
leaves between their bounds, so that Newton's method ends in a handful of steps, each of them products of X with a few
vectors and one d x d system, for any n. The clip puts a sample exactly at its bound; the stop is libsvm's, the
maximal KKT violation of a with w = Xᵀa computed afresh.

What it costs: 20 to 80 Newton steps for a C, three passes over X each. SMO takes about n steps of two rows of K each,
which is less where K is there, and a hundred times more where every row is a product with X.

Problems (folds, permutations, failure modes) are rows of one batch, so that one pass over X serves all of them. The
method is plain matrix products: it runs through torch, on the CPU and on a CUDA device alike, in the precision of X;
sums over samples are float64. The host has to know how many problems are still open, and asks for that alone: once a
step, through ``indices``. Its plain twin is :func:`fdgpu.kernels.smo_batch.fit_reference`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from fdgpu.kernels.smo_batch import Solutions

# Rows of X that a product sums in X's own precision. On a CPU also what makes it fast: over a long sum, the product of
# a few rows with a tall matrix runs at a tenth of the memory's rate
CHUNK = {"cpu": 1024, "cuda": 16384}
LARGEST_PART = 8192  # samples between their bounds whose Hessian is summed in X's own precision
LOOKS = 20  # at most, along one step
SETTLED = 0.1  # of the slope at the start of a step may be left at its end


# How the penalty ρ grows. Measured on 10 000 samples of ranks 48 and 400, a start at 10 and a growth of 5 take the
# fewest steps of starts at 1, 10, 100 and growths of 5, 10, 30: 96 and 126 over a path. A start at 100 takes 60 % more:
# its J misses what is still to move.
FIRST_PENALTY, GROWTH = 10.0, 5.0
# Beyond it the rounding of a residual, times the penalty, is a part of the box; a growth of 30 walked into that and
# never came out. With it held, the method still converges, linearly.
LARGEST_PENALTY = {torch.float32: 2e3, torch.float64: 1e7}
# The gradient, relative to w, at which the smoothed problem counts as solved; the KKT violation, not this, decides
INNER, INNER_STEPS = 1e-3, 40
MOST_STEPS = 600  # for one C, as a bound on what never took more than 120
Indices = Callable[[torch.Tensor], torch.Tensor]  # where a mask (P,) is True, for which the host waits


def indices_on_cpu(mask: torch.Tensor) -> torch.Tensor:
    """Return where (P,) is True."""
    return mask.nonzero()[:, 0]


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


# --- problems and their solutions so far ------------------------------------------------------------------------------


@dataclass
class Problems:
    """P problems over the same n samples: labels and box, which stay, and the solution so far, which moves.

    Attributes:
        x: (n, d) rows.
        y: (P, n) labels.
        lower, upper: (P, n) the box of h = a / C.
        h: (P, n) the dual over C.
        w: (P, d), b: (P,).
        values: (P, n) X w.
        steps: (P,) Newton steps taken.
    """

    x: torch.Tensor
    y: torch.Tensor
    lower: torch.Tensor
    upper: torch.Tensor
    h: torch.Tensor
    w: torch.Tensor
    b: torch.Tensor
    values: torch.Tensor
    steps: torch.Tensor

    @classmethod
    def at_bounds(cls, x: torch.Tensor, labels: torch.Tensor) -> Problems:
        """Weigh both kinds of label alike in total, s(y) = m / (2 m_y); a label 0 has a box of nothing.

        All alphas start at their bounds, which is optimal for every small C; w and values are those of C = 1. Where a
        kind is missing, no sample takes part.
        """
        solvable = (labels > 0).any(dim=1, keepdim=True) & (labels < 0).any(dim=1, keepdim=True)
        y = torch.where(solvable, labels, 0).double()
        right, wrong = (y > 0).sum(dim=1, keepdim=True), (y < 0).sum(dim=1, keepdim=True)
        m = (right + wrong).double()
        zero = torch.zeros((), dtype=torch.float64, device=y.device)
        upper = torch.where(y > 0, m / (2 * right.clamp(min=1)), zero)
        lower = torch.where(y < 0, -m / (2 * wrong.clamp(min=1)), zero)
        h = lower + upper
        w = combined(x, h)
        b = torch.zeros(len(h), dtype=torch.float64, device=x.device)
        return cls(x, y, lower, upper, h, w, b, along(x, w), torch.zeros(len(h), dtype=torch.int64, device=x.device))

    def __getitem__(self, rows: torch.Tensor) -> Problems:
        own = (self.y, self.lower, self.upper, self.h, self.w, self.b, self.values, self.steps)
        return Problems(self.x, *(values[rows] for values in own))

    def put(self, rows: torch.Tensor, other: Problems) -> None:
        """Write the solutions of ``rows`` back."""
        for name in ("h", "w", "b", "values", "steps"):
            getattr(self, name)[rows] = getattr(other, name)

    def clip(self, h: torch.Tensor) -> torch.Tensor:
        """Move h into the box."""
        return torch.clamp(h, self.lower, self.upper)

    def optimality(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the KKT violation of h with residuals v = y − X w, and b by libsvm's rule; (P,) each."""
        v = self.y - self.values
        inf = torch.inf
        may_rise, may_fall = self.h < self.upper, self.h > self.lower
        top = torch.where(may_rise, v, -inf).amax(dim=1)
        bottom = torch.where(may_fall, v, inf).amin(dim=1)
        free = may_rise & may_fall
        n_free = free.sum(dim=1)
        mean = torch.where(free, v, 0.0).sum(dim=1) / n_free.clamp(min=1)
        return top - bottom, torch.where(n_free > 0, mean, (top + bottom) / 2)


# --- Newton's method on the smoothed problem --------------------------------------------------------------------------


def _minimise(problems: Problems, cost: float, penalty: float, indices: Indices) -> None:
    """Minimise the smoothed problem around ``problems.h`` over (w, b), in place."""
    anchor = problems.b.clone()
    moving = torch.arange(len(anchor), device=anchor.device)  # the problems that are not solved yet
    for _ in range(INNER_STEPS):
        own = problems[moving]
        target = own.h + penalty * (own.y - own.values - own.b[:, None])
        clipped = own.clip(target)
        hold = 1e-8 * penalty  # keeps b where no sample lies between its bounds
        gradient_w = own.w / cost - combined(own.x, clipped)
        gradient_b = hold * (own.b - anchor[moving]) - clipped.sum(dim=1)
        small = gradient_w.norm(dim=1) <= INNER * (own.w.norm(dim=1) / cost).clamp(min=1e-12)
        left = ~(small & (gradient_b.abs() <= 1e-9 * own.upper.sum(dim=1)))
        still = indices(left)
        if not len(still):
            return
        moving, own = moving[still], own[still]
        gradient_w, gradient_b, target = gradient_w[still], gradient_b[still], target[still]
        step_w, step_b = _newton_step(own, target, gradient_w, gradient_b, cost, penalty, hold)
        moved = along(own.x, step_w)
        length = _line_search(
            own, target, penalty * (moved + step_b[:, None]),
            (gradient_w * step_w).sum(dim=1) + gradient_b * step_b,
            (step_w**2).sum(dim=1) / cost + hold * step_b**2,
            (own.w * step_w).sum(dim=1) / cost + hold * (own.b - anchor[moving]) * step_b,
            penalty,
        )  # fmt: skip
        own.w += length[:, None] * step_w
        own.b += length * step_b
        own.values += length[:, None] * moved
        own.steps += 1
        problems.put(moving, own)


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
        for part in _rows(x, inside):
            own[:d, :d] += (part.T @ part).double()
            own[:d, d] += part.sum(dim=0, dtype=torch.float64)
    hessian[:, d, :d] = hessian[:, :d, d]
    hessian[:, d, d] = between.sum(dim=1)
    hessian *= penalty
    hessian[:, range(d), range(d)] += 1 / cost
    hessian[:, d, d] += hold
    right = -torch.cat([gradient_w, gradient_b[:, None]], dim=1)
    step = torch.linalg.solve_ex(hessian, right[..., None]).result[..., 0]  # which does not ask whether it could
    return step[:, :d], step[:, d]


def _rows(x: torch.Tensor, inside: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the rows of ``x`` that are ``inside`` (n,), some at a time; on a device, with zeros for the others.

    How many they are only the device knows: it would be waited for.
    """
    if x.device.type == "cpu":
        yield from x[inside.nonzero()[:, 0]].split(LARGEST_PART)
    else:
        yield from (
            part * own[:, None] for part, own in zip(x.split(LARGEST_PART), inside.split(LARGEST_PART), strict=True)
        )


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
        if length.device.type == "cpu" and not left.any():
            break  # a device looks on: a look costs less than to ask
        falls = now < 0
        # the bound that stays counts half, so that it does not stay for good
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
    last: torch.Tensor | None = None,
    indices: Indices = indices_on_cpu,
) -> Iterator[Solutions]:
    """Solve P problems over the same samples for every C of an ascending path, each from the one before.

    Args:
        x: (n, d) unit rows, float32 or float64, on any device.
        labels: (P, n) int8 on the same device: +1 right, -1 wrong, 0 for a sample that takes no part.
        costs: C > 0, ascending.
        tol: largest KKT violation; below 1e-5 x has to be float64.
        max_iter: most Newton steps for one C.
        last: (P,) index in ``costs`` up to which each problem is solved; None for all. Beyond it, what is yielded of a
            problem has no meaning.
        indices: tells the host which problems are open; on a device it has to be given.

    Yields:
        The solutions at each C: float64, of one class, and ``n_iter`` counts Newton steps.

    Raises:
        ValueError: if shapes or types are not these.
    """
    _check(x, labels, costs)
    problems = Problems.at_bounds(x, labels)
    before = 1.0
    for c, cost in enumerate(costs):
        problems.w, problems.values = problems.w * (cost / before), problems.values * (cost / before)
        before = cost
        asked = problems.y.any(dim=1) if last is None else problems.y.any(dim=1) & (last >= c)
        violation = _solve(problems, cost, tol, min(max_iter, MOST_STEPS), asked, indices)
        yield _solutions(labels, cost, problems, violation)


def _solve(
    problems: Problems, cost: float, tol: float, most_steps: int, asked: torch.Tensor, indices: Indices
) -> torch.Tensor:
    """Bring the KKT violation of every problem ``asked`` for to ``tol`` at one C, in place; (P,) violations."""
    problems.steps.zero_()
    violation, middle = problems.optimality()
    problems.b = torch.where(violation <= tol, middle, torch.where(problems.b == 0, middle, problems.b))
    penalty = FIRST_PENALTY
    open_ = indices((violation > tol) & asked)
    while len(open_):
        own = problems[open_]
        _minimise(own, cost, penalty, indices)
        own.h = own.clip(own.h + penalty * (own.y - own.values - own.b[:, None]))
        own.w = cost * combined(own.x, own.h)
        own.values = along(own.x, own.w)
        gap, intercept = own.optimality()
        # where it is solved the rule decides b; elsewhere the next round starts from the b that belongs to its w
        own.b = torch.where(gap <= tol, intercept, own.b)
        violation[open_] = gap
        problems.put(open_, own)
        open_ = open_[indices((gap > tol) & (own.steps < most_steps))]
        penalty = min(penalty * GROWTH, LARGEST_PENALTY[own.x.dtype])
    return violation


def _solutions(labels: torch.Tensor, cost: float, problems: Problems, violation: torch.Tensor) -> Solutions:
    """Return the solutions, NaN where a kind is missing."""
    nothing = Solutions.empty(labels, (len(labels),), torch.float64, steps=torch.int64)
    found = Solutions(cost * problems.h, problems.values + problems.b[:, None], problems.b, violation, problems.steps)
    solvable = problems.y.any(dim=1)
    return Solutions(
        *(
            torch.where(solvable.unflatten(0, (-1, *[1] * (own.ndim - 1))), own, none)
            for own, none in zip(found, nothing, strict=True)
        )
    )


def _check(x: torch.Tensor, labels: torch.Tensor, costs: Sequence[float]) -> None:
    if x.ndim != 2 or x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x is {x.dtype} {tuple(x.shape)}: pass (n, d) rows of float32 or float64")
    if labels.dtype != torch.int8 or labels.ndim != 2 or labels.shape[1] != len(x):
        raise ValueError(f"labels is {labels.dtype} {tuple(labels.shape)}: pass (P, {len(x)}) int8, a problem a row")
    if labels.device != x.device:
        raise ValueError(f"labels is on {labels.device}, x on {x.device}: put both on one device")
    if not len(costs) or min(costs) <= 0 or any(b <= a for a, b in pairwise(costs)):
        raise ValueError(f"costs is {list(costs)}: pass C > 0 in ascending order")
