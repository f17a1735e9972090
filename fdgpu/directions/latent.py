r"""Failure modes as hidden classes: the method ``"latent"``, which listens to how wrong the model was.

Of every class, a part of the samples, the hidden class, is one on which the model fails (:mod:`hidden_classes
<fdgpu.kernels.hidden_classes>`, docs/method.md). What an audit makes of it:

- **Evidence.** For several shares of the class and every shrinkage λ = 1 / C a hidden class is fitted, which may hold
  at most so many samples. By how many nats do the vectors foretell the margins? A search finds something in any
  answers, so the same is done with answers that were exchanged. The evidence is what is beyond these.
- **Choice.** Of the candidates with enough evidence that with the most, times the root of its clarity; or a line along
  which the model does worse, where it has nearly as much.
- **Little evidence.** Where there is little nobody can say which samples are the hidden class. The direction is then
  that of the ridge regression of the loss, strongly shrunk, and the sample's own loss stands beside it with the same
  weight.
- **Held out.** Scores, and the share of errors that is explained, are of hidden classes that were fitted without the
  fold. Folds are drawn, and know no answers, so that a permutation of the answers is as likely as what was seen.
- **Test.** Its statistic is the most nats held out by a quicker search, of fewer starts and iterations, which is
  repeated as it is for every permutation of margins and answers.
- **Captions and pictures** go along the shift between the means of the hidden class and of the others: what its members
  share. The direction that tells them best leaves out what others vary in too.
- **Degrees.** Inside the hidden class and outside, some samples are harder than others. The ridge regression of the
  margin, strongly shrunk, is added to the direction with the weight that foretells margins best, up to an equal one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple, cast

import numpy as np
import torch

from fdgpu.arrays import to_device
from fdgpu.device import Backend
from fdgpu.directions.batch import ClassBatch, Directions, SolverBackend, SvmBatch
from fdgpu.directions.labellings import Classes, Layout, Stream, Tensor, permuted_samples, states_of
from fdgpu.directions.modes import explain_by
from fdgpu.directions.parameters import PAPER_COSTS, Method, SearchSettings, Solver, SolverSettings
from fdgpu.directions.samples import ClassSamples, whitened
from fdgpu.kernels import hidden_classes
from fdgpu.kernels.draws import keys
from fdgpu.kernels.hidden_classes import FULL, QUICK, TALL, Effort, Mixtures, Smoother, Space, smoother_of, space_of

EXCHANGED = 2  # times that answers are exchanged, to see what a search finds in them
ENOUGH, FORETOLD = 0.4, 0.7  # of the most evidence, and of the most nats held out, that a candidate needs
CLARITY = 0.5  # exponent of the clarity, by which the evidence of these is multiplied
ON_LINE = 0.9  # of the most evidence, with which a line is chosen: it is simpler
TESTED = 2  # shrinkages of a test, the strongest
SURE = 3.0  # nats of evidence, and nats held out, below which there is no hidden class to be told
BEYOND = 3.0  # times what any exchanged answers have: evidence that needs no nats held out
BATCH_BYTES = 1 << 26  # of a batch on a CPU, and of permutations at once: what stays in its caches is faster
ARRAYS = 10  # as large as the responsibilities, that an iteration holds
POLISH = 10  # iterations of a resample, which starts from what all samples said
EQUAL = 1.0  # largest weight of the degrees beside the hidden class
WITHIN = 1.96  # deviations of an interval of 95 %


class Part(NamedTuple):
    """Some samples of K classes: their rows (K, m) among N, and which of these are ``there`` (K, m), 1 or 0."""

    rows: Tensor
    there: Tensor

    def of(self, values: Tensor) -> Tensor:
        """Gather (P, N) values: (K, P, m), 0 where there is no sample."""
        return values[:, self.rows].movedim(0, 1) * self.there[:, None]

    def spread(self, values: Tensor, into: Tensor) -> Tensor:
        """Put (K, m) values in the place of their samples among ``into`` (N,)."""
        padded = torch.cat([into, into[:1]])  # the last takes what is no sample's
        return padded.scatter(0, torch.where(self.there > 0, self.rows, len(into)).flatten(), values.flatten())[:-1]


class LatentBatch(ClassBatch):
    """K classes in which hidden classes are looked for."""

    solver = Solver.LATENT

    def __init__(
        self, layout: Layout, x: Tensor, margin: Tensor, settings: SolverSettings, svms: Callable[[], SvmBatch]
    ) -> None:
        """Hold (N, d) whitened rows and (N,) margins, class by class; ``svms`` opens the same classes for SVMs."""
        self.layout, self.x, self.settings, self.svms = layout, x, settings, svms
        self.margin = margin.to(x.dtype)
        self.shrinkages = [1 / C for C in settings.Cs]
        widest = max(layout.sizes)
        place = torch.arange(widest, device=layout.device)
        within = place < layout.lengths[:, None]
        self._padded = torch.where(within, layout.segments.starts[:-1, None] + place, 0)
        self._within = within
        self.modes = [self]
        self._open = torch.ones_like(layout.right)  # the samples in which a hidden class is looked for

    # --- parts of the classes -----------------------------------------------------------------------------------

    @cached_property
    def fold(self) -> Tensor:
        """(N,) fold of each sample, drawn among the groups of its class, or the samples; it knows no answer."""
        layout, cv = self.layout, self.settings.cv
        groups = layout.groups
        units = layout.segments if groups is None else groups.segments
        drawn = keys(units, states_of(layout, 0, Stream.FOLD)[None], 0, 1)[0, 0]
        order = ((units.of << 32) | drawn).argsort(stable=True)
        of = torch.arange(len(order), device=layout.device) if groups is None else groups.of
        sizes = torch.zeros_like(order).scatter_add_(0, of, torch.ones_like(of))
        before = torch.empty_like(order).scatter_(0, order, sizes[order].cumsum(0) - sizes[order])
        first = layout.segments.starts[units.of]
        return ((before - first) * cv // layout.lengths[units.of])[of]

    def part(self, chosen: Tensor, widest: int | None = None) -> Part:
        """Return the samples that are ``chosen`` (N,), of at most ``widest`` a class."""
        inside = chosen[self._padded] & self._within
        order = (~inside).to(torch.int8).argsort(dim=1, stable=True)[:, :widest]
        return Part(self._padded.gather(1, order), inside.gather(1, order).to(self.x.dtype))

    @cached_property
    def folds_apart(self) -> list[tuple[Part, Space, Smoother, Part, Tensor]]:
        """Without and with each fold: the part fitted, its space and smoother, the part held out, and its products.

        Without groups a fold holds n / cv of a class's n samples, rounded up or down.
        """
        cv, largest = self.settings.cv, max(self.layout.sizes)
        held_most = None if self.layout.groups is not None else -(-largest // cv)
        fitted_most = None if self.layout.groups is not None else largest - largest // cv
        found = []
        for fold in range(cv):
            is_held = self.fold == fold
            fitted, held = self.part(self._open & ~is_held, fitted_most), self.part(self._open & is_held, held_most)
            space = space_of(self.x[fitted.rows], fitted.there)
            products = (self.x[held.rows] - space.mean[:, None]) @ space.x.mT
            found.append((fitted, space, smoother_of(space, self.shrinkages), held, products))
        return found

    def apart(self, open_: Tensor) -> LatentBatch:
        """Return the same classes, of which only the samples ``open_`` (N,) are looked at."""
        made = LatentBatch(self.layout, self.x, self.margin, self.settings, self.svms)
        made._open = open_
        return made

    # --- fitting ------------------------------------------------------------------------------------------------

    def held_out(self, margin: Tensor, classes: Classes = None, effort: Effort = FULL) -> tuple[Tensor, Tensor]:
        """Search without each fold, and ask what was found about the fold.

        Args:
            margin: (P, N).
            classes: those of interest; what stands for others has no meaning.
            effort: of the search; a quick one, as a test's, tries two shrinkages.

        Returns:
            (cv, K, P, C) nats by which vectors foretell the margins of a fold, by every candidate of a search that did
            not know it; and (P, C, N) the probability of the hidden class by the vector alone, empty after a quick one.
        """
        own: slice | Tensor = slice(None)
        if classes is not None and len(classes) < len(self.layout.sizes):
            own = to_device(torch.tensor(list(classes), dtype=torch.int64), self.layout.device)
        everything = effort is FULL
        wide = len(self.shrinkages[: None if everything else TESTED])
        candidates = effort.candidates(wide)
        gain = margin.new_zeros(self.settings.cv, len(self.layout.sizes), len(margin), candidates)
        failing = margin.new_zeros(len(margin), candidates if everything else 0, margin.shape[1])
        for (fitted, space, smoother, held, products), gained in zip(self.folds_apart, gain, strict=True):
            fitted, held = Part(*(one[own] for one in fitted)), Part(*(one[own] for one in held))
            of_classes = Space(*(one[own] for one in space)), smoother.of(own, wide)
            found, _ = hidden_classes.search(*of_classes, fitted.of(margin), effort)
            along = (found.dual.flatten(1, 2) @ products[own].mT).unflatten(1, found.share.shape[1:])
            t, there = held.of(margin)[:, :, None], held.there[:, None, None]
            gained[own] = (found.gain(along, t) * there).sum(-1)
            if everything:
                inside = (found.evidence(along) + found.prior[..., None]).sigmoid()
                for values, into in zip(inside.flatten(1, 2).unbind(1), failing.flatten(0, 1).unbind(0), strict=True):
                    into.copy_(held.spread(values, into))
        return gain, failing

    def one_direction(self) -> Directions[Tensor]:
        """Find the hidden class of each class, and what stands beside it."""
        everything = self.part(self._open)
        space = space_of(self.x[everything.rows], everything.there)
        smoother = smoother_of(space, self.shrinkages)
        margin = everything.of(torch.cat([self.margin[None], self.exchanged()]))
        found, gain = hidden_classes.search(space, smoother, margin)
        margin, excess, by_chance = margin[:, :1], *evidence_of(gain)
        held, failing = self.held_out(self.margin[None])
        foretold = held.sum(0)[:, 0]
        candidate, pick, self._on_line = self._chosen(excess, foretold, found.clarity[:, 0])
        best = found.taken(torch.zeros_like(pick), 1).taken(candidate.gather(1, pick[:, None])[:, 0], 1)
        best = best.mapped(lambda values: values[:, None])
        self._held_out_gain = held[:, :, 0].take_along_dim(candidate[None], dim=2)
        self._held_out = failing[0].take_along_dim(self.layout.each(candidate.T), dim=0)
        self._held_out_right = self._accuracies(self._held_out)
        most, nats = excess.amax(1), self._held_out_gain.sum(0).gather(1, pick[:, None])[:, 0]
        sure = (most >= SURE) & ((nats >= SURE) | (most >= BEYOND * by_chance))
        nobody = torch.zeros_like(self.margin)
        self._failing, self._sure, self._most = everything.spread(best.failing[:, 0], nobody), sure, best.most[:, 0]
        line = self._line(space, smoother, margin, best, everything.of((~self.layout.right)[None]), sure)
        explained, error = self._explained(pick)
        wrong = ~self.layout.right & self._open
        members = self.layout.total(torch.where(wrong, self._failing, 0.0)).round().long()
        nothing = torch.full_like(sure, torch.nan, dtype=torch.float64)
        return Directions(
            coef=line.coef[None],
            intercept=line.intercept[None],
            C_index=pick[None],
            cv_scores=self._held_out_right[None],
            n_errors=torch.where(sure, members, self.layout.count(wrong))[None],
            n_iter=torch.full_like(pick, FULL.iterations)[None],
            violation=torch.zeros_like(line.intercept)[None],
            statistic=self._statistic(self.margin[None]),
            shift=line.shift[None],
            loss_weight=line.loss_weight[None],
            loss_intercept=line.loss_intercept[None],
            share=torch.where(sure, best.share[:, 0].double(), nothing)[None],
            explained=torch.stack([explained + z * error for z in (0, -WITHIN, WITHIN)], dim=-1)[None].clamp(0, 1),
        )

    def exchanged(self) -> Tensor:
        """Exchange margins, and answers, within every class: (EXCHANGED, N)."""
        drawn = permuted_samples(self.layout, 0, 0, EXCHANGED, Stream.EXCHANGE)
        return torch.where(self._open[drawn], self.margin[drawn], self.margin)

    def _chosen(self, excess: Tensor, foretold: Tensor, clarity: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Choose by evidence, nats held out, and clarity, (K, C) each.

        Nats alone prefer what many causes have in common to one of them; clarity alone any two groups that there are.

        Returns:
            The shrinkage's candidates (K, L), each with the most evidence, but where it was chosen the chosen one; the
            shrinkage (K,) that was chosen; and whether the line was.
        """
        most, furthest = excess.amax(1, keepdim=True), foretold.amax(1, keepdim=True)
        enough = (foretold >= FORETOLD * furthest) | (furthest < SURE)
        score = torch.where(enough & (excess >= ENOUGH * most) & (excess > 0), excess * clarity**CLARITY, -torch.inf)
        score = torch.where(score[:, :-1].amax(1, keepdim=True).isinf(), excess, score)
        on_line, apart = excess[:, -1] >= ON_LINE * most[:, 0], excess[:, :-1]
        best = torch.where(on_line, apart.shape[1], score[:, :-1].argmax(1))
        by_shrinkage = apart.unflatten(1, (len(self.shrinkages), -1))
        of_each = by_shrinkage.shape[2]
        candidate = by_shrinkage.argmax(2) + of_each * torch.arange(len(self.shrinkages), device=best.device)
        pick = torch.where(on_line, 0, best // of_each)
        return candidate.scatter(1, pick[:, None], best[:, None]), pick, on_line

    def _line(
        self, space: Space, smoother: Smoother, margin: Tensor, best: Mixtures, wrong: Tensor, sure: Tensor
    ) -> Line:
        """Join the hidden class, degrees and fallback to one direction, from hard to easy, and its zero; K of each.

        Degrees and fallback are by the strongest shrinkage, the first of the smoother.
        """
        strong = smoother.of(slice(None), 1)
        targets, predicted = hidden_classes.regressions(space, strong, margin)
        duals = hidden_classes.dual_of(space, strong, targets, predicted)[:, 0, 0]  # (K, 2, m)
        graded, by_loss = predicted[:, 0, 0].unbind(1)
        there, n = space.there, space.n

        def deviation(values: Tensor) -> Tensor:
            mean = (values * there).sum(1) / n
            return (((values - mean[:, None]) ** 2 * there).sum(1) / n).sqrt().clamp(min=1e-12)

        evidence = best.evidence(best.predicted)[:, 0]  # (K, m)
        length, unit = deviation(evidence), deviation(graded)
        weight = _weight_of_degrees(-evidence / length[:, None], graded / unit[:, None], margin[:, 0], there)
        steep = ((best.high - best.low) / best.variance)[:, 0]
        dual = (weight * length / unit)[:, None] * duals[:, 0] - steep[:, None] * best.dual[:, 0]
        middle = ((best.high + best.low) / 2)[:, 0]
        zero = steep * middle - best.prior[:, 0]
        # where there is no hidden class to be told: as many are flagged as were wrong
        t = margin[:, 0]
        n_wrong = (wrong[:, 0] * there).sum(1)
        by_loss_unit, t_unit = deviation(by_loss), deviation(t)
        dual = torch.where(sure[:, None], dual, duals[:, 1] / by_loss_unit[:, None])
        zero = torch.where(sure, zero, -_smallest(by_loss / by_loss_unit[:, None], there, n_wrong))
        coef = (dual[:, None] @ space.x)[:, 0]
        intercept = zero.double() - torch.linalg.vecdot(space.mean, coef).double()
        loss_weight = torch.where(sure, best.slope[:, 0], 1 / t_unit)
        loss_zero = (best.prior - best.offset)[:, 0]
        loss_intercept = torch.where(sure, loss_zero, -_smallest(t, there, n_wrong) / t_unit)
        r = best.failing[:, 0]
        apart = (there - r) / (n[:, None] - r.sum(1, keepdim=True)) - r / r.sum(1, keepdim=True).clamp(min=1e-12)
        shift = torch.where(sure[:, None], (apart[:, None] @ space.x)[:, 0], coef)
        shift = shift * (coef.norm(dim=1) / shift.norm(dim=1).clamp(min=1e-30))[:, None]
        return Line(coef, intercept, shift, loss_weight.double(), loss_intercept.double())

    # --- how good it is -----------------------------------------------------------------------------------------

    def _accuracies(self, failing: Tensor) -> Tensor:
        """Balanced accuracy (K, L) of right and wrong, held out, where the hidden class is likelier than not."""
        layout, recalls = self.layout, []
        for kind, hit in ((layout.right, failing <= 0.5), (~layout.right, failing > 0.5)):
            own = kind & self._open
            recalls.append(layout.count(hit & own).double() / layout.count(own))
        return torch.stack(recalls).mean(0).T

    def _explained(self, pick: Tensor) -> tuple[Tensor, Tensor]:
        """Share (K,) of the errors that the hidden class explains, held out, and its standard error.

        Inside, as many errors more than outside's rate as there are of all; samples of a group count as one.
        """
        layout = self.layout
        r = self._held_out.take_along_dim(layout.each(pick)[None], dim=0)[0].double() * self._open
        wrong = (~layout.right & self._open).double()
        outside = self._open.double() - r
        sums = [layout.total(values) for values in (r * wrong, r, outside * wrong, outside, wrong)]
        in_wrong, inside, out_wrong, out, errors = (one.clamp(min=1e-9) for one in sums)
        rate = out_wrong / out
        share = (in_wrong - inside * rate) / errors
        each = layout.each
        influence = (
            r * wrong
            - r * each(rate)
            - each(inside / out) * (outside * wrong - outside * each(rate))
            - each(share) * wrong
        ) / each(errors)
        if layout.groups is None:
            return share, layout.total(influence**2).sqrt()
        of = layout.groups.of
        together = torch.zeros(len(layout.groups.segments.of), dtype=r.dtype, device=r.device).scatter_add_(
            0, of, influence
        )
        squares = torch.zeros_like(share).scatter_add_(0, layout.groups.segments.of, together**2)
        return share, squares.sqrt()

    # --- other answers, and other samples -----------------------------------------------------------------------

    @property
    def permutation_bytes(self) -> int:
        """What one permutation of the batch takes: some arrays of the size of every start."""
        starts = min(TESTED, len(self.shrinkages)) * QUICK.starts
        return ARRAYS * starts * self._padded.numel() * self.x.element_size()

    def null_statistics(self, seed: int, first: int, count: int, classes: Classes = None) -> Tensor:
        """Exchange margins and answers, and repeat the whole quick search: (count, K) statistics."""
        drawn = permuted_samples(self.layout, seed, first, count)
        return self._statistic(self.margin[drawn], classes)

    def _statistic(self, margin: Tensor, classes: Classes = None) -> Tensor:
        """Return (P, K) the most nats held out, by a quick search."""
        return self.held_out(margin, classes, QUICK)[0].sum(0).amax(-1).T.double()

    def refit(self, labels: Tensor, C_index: Tensor, classes: Classes = None) -> Tensor:  # noqa: ARG002 - all of them
        """Fit resamples (r, B, N) of r modes again, from what all samples said: shifts (r, B, K, d) of all classes."""
        fitted = [mode._refit(own, picked) for mode, own, picked in zip(self.modes, labels != 0, C_index, strict=True)]
        return torch.stack(fitted)

    def _refit(self, kept: Tensor, C_index: Tensor) -> Tensor:
        """Fit (B, N) resamples, shifts (B, K, d)."""
        found, classes = [], torch.arange(len(C_index), device=C_index.device)
        for chosen in kept:
            part = self.part(chosen & self._open)
            space, margin = space_of(self.x[part.rows], part.there), part.of(self.margin[None])
            smoother = smoother_of(space, self.shrinkages)
            own = Smoother(*(one[classes, C_index][:, None] for one in smoother))
            first = part.of(self._failing[None])[:, :, None, None]
            most = self._most[:, None, None, None]
            apart = hidden_classes.fit(space, own, margin, first, most, POLISH).mapped(lambda values: values[:, :, 0])
            both = first.expand(-1, -1, -1, 2, -1)
            line = hidden_classes.on_regressions(space, smoother, margin, both, (0, 1), POLISH)
            best = apart.or_where(self._on_line, line).mapped(lambda values: values[:, :, 0])
            found.append(
                self._line(space, smoother, margin, best, part.of((~self.layout.right)[None]), self._sure).shift
            )
        return torch.stack(found).float()

    def nested_scores(self) -> Tensor:
        """Return (K,) held-out balanced accuracy, by the shrinkage that foretells the other folds best."""
        others = self._held_out_gain.sum(0) - self._held_out_gain  # (cv, K, L)
        chosen = others.argmax(-1)[self.fold, self.layout.segments.of]
        return self._accuracies(self._held_out.take_along_dim(chosen[None], dim=0))[:, 0]

    # --- more modes ---------------------------------------------------------------------------------------------

    def explain_by(
        self, r: int, classes: Sequence[int], search: SearchSettings
    ) -> tuple[Directions[Tensor], Tensor, Callable[[int, Sequence[int]], Tensor]]:
        """Find ``r`` failure modes in each of ``classes``, as :func:`fdgpu.directions.modes.explain_by` does.

        It says which errors belong together, and tests that there are so many modes; of each a hidden class is found
        among all right answers and its errors.
        """
        _, labels, test = explain_by(r, self.svms(), classes, search)
        self.modes = [self.apart(own != 0) for own in labels]
        found = [mode.one_direction() for mode in self.modes]
        own_errors = self.layout.count(labels < 0)
        joined = Directions(*(torch.cat(values) for values in zip(*found, strict=True)))
        return joined._replace(n_errors=own_errors), labels, test


def evidence_of(gain: Tensor) -> tuple[Tensor, Tensor]:
    """Compare nats (K, 1 + P, C), first of what was seen and then of exchanged answers.

    Returns:
        The evidence (K, C), nats beyond the mean of the exchanged; and the most (K,) that one of these has beyond the
        others.
    """
    seen, exchanged = gain[:, 0], gain[:, 1:]
    others = (exchanged.sum(1, keepdim=True) - exchanged) / (exchanged.shape[1] - 1)
    return seen - exchanged.mean(1), (exchanged - others).amax((1, 2))


class Line(NamedTuple):
    """A direction (K, d) and its zero, the shift (K, d), weight and zero of the own margin (K,); positive is easy."""

    coef: Tensor
    intercept: Tensor
    shift: Tensor
    loss_weight: Tensor
    loss_intercept: Tensor


def _weight_of_degrees(easy: Tensor, graded: Tensor, margin: Tensor, there: Tensor) -> Tensor:
    """Return (K,) the weight of ``graded`` beside ``easy`` that foretells margins best, from 0 to an equal one.

    Args:
        easy: (K, m) of the hidden class.
        graded: (K, m) of the regression.
        margin: (K, m).
        there: (K, m).
    """
    n = there.sum(1, keepdim=True)
    a, b, t = (one - (one * there).sum(1, keepdim=True) / n for one in (easy, graded, margin))
    aa, ab, bb, at, bt = ((one * two * there).sum(1) for one, two in ((a, a), (a, b), (b, b), (a, t), (b, t)))
    of_easy, of_graded = bb * at - ab * bt, aa * bt - ab * at  # times the same positive determinant
    weight = (of_graded / of_easy.clamp(min=1e-30)).clamp(0, EQUAL)
    return torch.where(of_easy > 0, weight, EQUAL)


def _smallest(values: Tensor, there: Tensor, count: Tensor) -> Tensor:
    """Return (K,) the ``count``-th smallest of the values (K, m) that are there."""
    ordered = torch.where(there > 0, values, torch.inf).sort(dim=1).values
    return ordered.gather(1, (count.long() - 1).clamp(min=0)[:, None])[:, 0]


class TorchBackend:
    """Solves hidden classes in torch, where the embeddings lie; a :class:`~fdgpu.directions.batch.SolverBackend`."""

    name = "torch"

    def __init__(self, device: torch.device, of_svms: Callable[[], SolverBackend]) -> None:
        """Solve on ``device``; ``of_svms`` returns the backend that finds which errors belong together."""
        self.device, self._of_svms = device, of_svms

    @property
    def at_once(self) -> int:
        """On a CPU each batch takes one thread."""
        return torch.get_num_threads() if self.device.type == "cpu" else 1

    def check(self, classes: Sequence[ClassSamples], settings: SolverSettings) -> None:
        """Find nothing that cannot be solved."""

    def capacity(self) -> int:
        """Bytes that one batch may take."""
        if self.device.type == "cpu":
            return BATCH_BYTES
        return torch.cuda.mem_get_info(self.device)[0] // 2

    def bytes_of(self, one: ClassSamples, settings: SolverSettings) -> int:
        """Rows and smoothers of all samples and of each fold's others, and what every start holds."""
        d, shrinkages = one.embeddings.shape[1], len(settings.Cs)
        smoothers = 2 * shrinkages * min(one.n, TALL * d)
        held = 2 * (1 + settings.cv) * d + smoothers + ARRAYS * FULL.starts * shrinkages * (1 + EXCHANGED)
        return one.n * held * settings.dtype.itemsize

    def open(self, classes: Sequence[ClassSamples], settings: SolverSettings) -> LatentBatch:
        """Whiten the classes where the embeddings are."""
        layout = Layout.of(classes, self.device)
        margin = np.concatenate([one.right * 2.0 - 1.0 if one.margin is None else one.margin for one in classes])
        x = whitened(classes, settings.dtype, self.device)
        svm = replace(settings, method=Method.SVM, Cs=PAPER_COSTS, backend=Backend.AUTO)

        def svms() -> SvmBatch:
            return cast(SvmBatch, self._of_svms().open(classes, svm))

        return LatentBatch(layout, x, to_device(margin, self.device), settings, svms)
