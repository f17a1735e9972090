"""Long work shows progress: one callable that stages report to, and the bar that draws it."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

HIDDEN: ContextVar[bool] = ContextVar("hidden", default=False)  # the command line sets it, for --quiet


class Reporter(Protocol):
    """Takes the name of a stage, how much of it is done, and how much there is (None while unknown)."""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Report; called often, and cheap."""
        ...


def silent(stage: str, done: int, total: int | None) -> None:
    """Report nothing."""


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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Move the stage's bar, making it on the first call."""
        if stage not in self._bars:
            self._bars[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._bars[stage], completed=done, total=total)


class OneBar:
    """The reporter of a call that was given none: a bar if a person watches standard error, else silence."""

    def __init__(self, reporter: Reporter | None) -> None:
        self._given = reporter
        self._bars = ProgressBars() if reporter is None and sys.stderr.isatty() else None

    def __enter__(self) -> Reporter:
        if self._given is not None:
            return self._given
        return self._bars.__enter__() if self._bars is not None else silent

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.__exit__(kind, error, trace)
