"""Long work shows progress: one callable that stages report to, and the bar that draws it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic, perf_counter
from typing import Protocol

from markupsafe import Markup
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fdgpu.described import html_table

REDRAWN_AFTER = 0.2  # seconds
HIDDEN: ContextVar[bool] = ContextVar("hidden", default=False)  # the command line sets it, for --quiet


class Reporter(Protocol):
    """Takes the name of a stage, how much of it is done, and how much there is (None while unknown)."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Report; called often, and cheap."""
        ...


def silent(stage: str, done: int, total: int | None) -> None:
    """Report nothing."""


@contextmanager
def timed(seconds: dict[str, float], stage: str, report: Reporter = silent) -> Iterator[None]:
    """Report a block as a stage, and add the seconds that it takes to those of the stage."""
    start = perf_counter()
    report(stage, 0, 1)
    yield
    report(stage, 1, 1)
    seconds[stage] = seconds.get(stage, 0.0) + perf_counter() - start


class Output(Protocol):
    """What IPython shows below a cell, and replaces."""

    def update(self, shown: object) -> None:
        """Show something else in its place."""
        ...


class ProgressBars:
    """Draws one bar a stage on standard error; a terminal is required, otherwise it stays silent."""

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=HIDDEN.get() or not console.is_terminal,
        )

    def __enter__(self) -> ProgressBars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Move the stage's bar, making it on the first call."""
        if stage not in self._bars:
            self._bars[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._bars[stage], completed=done, total=total)


class NotebookBars:
    """Draws one bar a stage below the cell of a notebook, in one output that is replaced; no widgets are needed."""

    def __init__(self) -> None:
        self._stages: dict[str, tuple[int, int | None]] = {}
        self._output: Output | None = None
        self._drawn_at = 0.0

    def __enter__(self) -> NotebookBars:
        return self

    def __exit__(self, *error: object) -> None:
        self._draw()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Note how far a stage is, and draw that a few times a second."""
        known = stage in self._stages
        self._stages[stage] = done, total
        if not known or monotonic() - self._drawn_at >= REDRAWN_AFTER:
            self._draw()

    def _draw(self) -> None:
        from IPython.display import display

        self._drawn_at = monotonic()
        if self._output is None and self._stages:
            self._output = display(self, display_id=True)
        elif self._output is not None:
            self._output.update(self)

    def __repr__(self) -> str:
        return "\n".join(f"{stage:<24} {_counted(*at)}" for stage, at in self._stages.items())

    def _repr_html_(self) -> str:
        return html_table("", (), [(stage, _bar(*at), _counted(*at)) for stage, at in self._stages.items()])


def _counted(done: int, total: int | None) -> str:
    return f"{done:,}/{'?' if total is None else f'{total:,}'}"


def _bar(done: int, total: int | None) -> Markup:
    known = Markup("") if total is None else Markup('value="{}" max="{}"').format(done, max(total, 1))
    return Markup("<progress {}></progress>").format(known)


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook, which shows more than text."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


class OneBar:
    """The reporter of a call that was given none: bars in a notebook or where a person watches, else silence."""

    def __init__(self, reporter: Reporter | None) -> None:
        self._given = reporter
        self._bars: ProgressBars | NotebookBars | None = None
        if reporter is None and in_notebook():
            self._bars = NotebookBars()
        elif reporter is None and sys.stderr.isatty():
            self._bars = ProgressBars()

    def __enter__(self) -> Reporter:
        if self._given is not None:
            return self._given
        return self._bars.__enter__() if self._bars is not None else silent

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.__exit__(*error)
