"""What the command line answers: sentences for a person or, with ``--json``, one document; and an exit code.

Every command returns an :class:`Answer` and prints what a person reads as it goes. :class:`Program` does the rest for
all of them: with ``--json`` standard output holds the document and nothing else, whatever a command or a library
prints.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from enum import IntEnum
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any, NamedTuple, TextIO

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from fdgpu.errors import FdgpuError, FdgpuWarning
from fdgpu.progress import HIDDEN
from fdgpu.version import __version__

SCHEMA = "fdgpu.command/1"  # raise the number when a key goes, or changes its meaning; a new key is no new version
FLAGS = {
    "json": Annotated[
        bool, typer.Option("--json", help="Answer with one JSON document on standard output, and nothing else there.")
    ],
    "quiet": Annotated[bool, typer.Option("--quiet", help="Print nothing but warnings and errors.")],
}

_said: dict[str, None] = {}  # warnings that were printed: what was doubted while loading, an audit says again


class ExitCode(IntEnum):
    """How a command ends."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    WORSE = 3  # a comparison says so, and --fail-if-worse asks for it
    INTERRUPTED = 130


class Answer(NamedTuple):
    """What a command found.

    Attributes:
        result: makes the document's ``result``, which is plain data; called with ``--json`` only.
        exit_code: of the process.
    """

    result: Callable[[], dict[str, object]]
    exit_code: ExitCode = ExitCode.DONE


def answering(command: Callable[..., Answer]) -> Callable[..., Answer]:
    """Give a command the flags that every command has; :class:`Program` reads them."""

    @wraps(command)
    def run(*, json: bool, quiet: bool, **settings: Any) -> Answer:  # noqa: ARG001 - read before anything is parsed
        return command(**settings)

    own = signature(command, eval_str=True)
    flags = [Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=kind) for name, kind in FLAGS.items()]
    whole = own.replace(parameters=[*own.parameters.values(), *flags])
    run.__signature__ = whole  # type: ignore[attr-defined] # which typer reads
    run.__annotations__ = {name: one.annotation for name, one in whole.parameters.items()}
    return run


class Program(TyperGroup):
    """The commands, each of which answers in words or in JSON."""

    _context: Any = None  # typer's, of the command line
    _answer: Answer | None = None
    _error: BaseException | None = None

    def main(self, args: Sequence[str] | None = None, *rest: Any, **settings: Any) -> Any:
        """Run a command, and exit with its code; an error of ours is one message, not a traceback."""
        words = list(sys.argv[1:] if args is None else args)
        json, quiet = "--json" in words, "--quiet" in words  # a mistake in the others is answered in JSON too
        code = int(ExitCode.FAILED)
        self._context = self._answer = self._error = None
        _said.clear()
        before = HIDDEN.set(quiet)
        try:
            with suppress(BrokenPipeError), _standard_output(json, quiet) as out:  # whoever asked may have gone
                code = self._exit_code(words, rest, settings, json)
                if json:
                    out.write(self._document(code))
                    out.flush()
        finally:
            HIDDEN.reset(before)
        sys.exit(code)

    def make_context(self, *args: Any, **settings: Any) -> Any:
        """Keep what is wrong with the command line."""
        with self._noting():
            return super().make_context(*args, **settings)

    def invoke(self, ctx: Any) -> Any:
        """Keep what the command answers, or what it raised."""
        self._context = ctx
        with self._noting():
            answer = super().invoke(ctx)
        if isinstance(answer, Answer):
            self._answer = answer
            if answer.exit_code:
                raise typer.Exit(answer.exit_code)
        return answer

    def _exit_code(self, words: list[str], rest: Sequence[Any], settings: dict[str, Any], json: bool) -> int:
        try:
            super().main(words, *rest, **settings)
        except SystemExit as stop:  # as every command ends
            return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        except FdgpuError as error:
            complain("error", str(error))
            return ExitCode.FAILED
        except Exception:  # a fault of ours
            if not json:
                raise
            traceback.print_exc()
            return ExitCode.FAILED
        return ExitCode.DONE

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except typer.Exit:
            raise
        except BaseException as error:
            self._error = error
            raise

    def _document(self, code: int) -> str:
        from fdgpu.files import strict_json

        document: dict[str, object] = {
            "schema": SCHEMA,
            "fdgpu": __version__,
            "command": getattr(self._context, "invoked_subcommand", None),
            "exit_code": int(code),
            "warnings": list(_said),
        }
        if self._error is not None:
            message = getattr(self._error, "format_message", lambda: str(self._error))()  # typer's have one
            document["error"] = {"type": type(self._error).__name__, "message": message}
        else:
            document["result"] = None if self._answer is None else self._answer.result()
        return strict_json(document)


@contextmanager
def _standard_output(json: bool, quiet: bool) -> Iterator[TextIO]:
    """Keep standard output for the document; what is written there meanwhile goes to standard error, or nowhere.

    It is the process's descriptor that leads elsewhere, on which libraries in C and worker processes write too.
    ``sys.stdout`` stays what it is: libraries that find it to be ``sys.stderr`` stumble.
    """
    if not (json or quiet):
        yield sys.stdout
        return
    printed = sys.stdout
    with ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w"))  # noqa: PTH123
        if not _is_descriptor(printed):  # as in tests
            stack.enter_context(redirect_stdout(nowhere if quiet else sys.stderr))
            yield printed
            return
        printed.flush()
        kept = stack.enter_context(os.fdopen(os.dup(1), "w", encoding="utf-8"))
        os.dup2(nowhere.fileno() if quiet else 2, 1)
        stack.callback(os.dup2, kept.fileno(), 1)
        stack.callback(printed.flush)
        yield kept


def _is_descriptor(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 1
    except (AttributeError, OSError):
        return False


def show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Print our own warnings as one line, each once, and none of other libraries'."""
    if issubclass(category, FdgpuWarning) and str(message) not in _said:
        _said[str(message)] = None
        complain("warning", str(message))


def complain(kind: str, message: str) -> None:
    """Print an error or a warning on standard error."""
    Console(stderr=True, soft_wrap=True).print(f"[bold red]{kind}:[/bold red] {escape(message)}")
