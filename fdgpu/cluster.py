"""A Ray cluster: workers that hold what takes long to make, and are dealt tasks; one that dies costs the task in hand.

All GPUs of one machine are the smallest cluster. Ray is imported when a cluster is asked for, and not before.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar

from fdgpu.cgroups import CORES
from fdgpu.checks import check_number, check_text, check_whole
from fdgpu.errors import LONGEST_REASON, BackendError, FdgpuError, InputError, one_line
from fdgpu.extras import require
from fdgpu.version import __version__

LOCAL = "local"
ANSWERS_WITHIN = 60  # seconds; Ray itself would try an address that is dead for more than ten minutes
REACHED_WITHIN = 10
STARTS_WITHIN = 600  # seconds until a worker has its model, where none is at work
TRIES = 3  # workers that one task may end
IN_HAND = 2  # tasks of a worker: one that it does, and the next, so that it never waits for the driver
QUIET = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}
PROBE = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, configure_logging=False)"

Task = TypeVar("Task")
Result = TypeVar("Result")
Ref = Any  # Ray's reference to what a worker will have returned
Actor = Any


@dataclass(frozen=True)
class Share:
    """What one worker gets: ``gpus``, of which it may be a fraction, and ``cores``; and how many ``workers`` there are.

    >>> Share.of([{"CPU": 64.0, "GPU": 8.0}, {"CPU": 32.0, "GPU": 4.0}], gpus=0.5)
    Share(gpus=0.5, cores=4, workers=24)
    >>> Share.of([{"CPU": 16.0}, {"CPU": 8.0}])
    Share(gpus=0, cores=8, workers=2)
    """

    gpus: float
    cores: int
    workers: int

    @classmethod
    def of(cls, nodes: Sequence[Mapping[str, float]], gpus: float | None = None, workers: int | None = None) -> Share:
        """Divide nodes, each with its ``CPU`` and ``GPU``, among workers that are alike.

        Args:
            nodes: what each has.
            gpus: of a worker; by default 1 where there are any. 0 for workers without.
            workers: at most; by default as many as have their GPUs, and without GPUs one a node.

        Raises:
            BackendError: if not one worker has what it asks for.
        """
        if gpus is None:
            gpus = 1 if any(node.get("GPU", 0) >= 1 for node in nodes) else 0
        usable = [node for node in nodes if node.get("CPU", 0) >= 1 and node.get("GPU", 0) >= gpus]
        if not usable:
            what = ", ".join(f"{node.get('GPU', 0):g} GPUs and {node.get('CPU', 0):g} cores" for node in nodes)
            raise BackendError(
                f"a worker asks for {gpus:g} GPUs and a core, and the nodes of the cluster have {what or 'nothing'}: "
                "ask for fewer GPUs a worker, or 0"
            )
        alone = -(-workers // len(usable)) if workers else 1
        on_node = [int(node["GPU"] / gpus + 1e-9) if gpus else min(alone, int(node["CPU"])) for node in usable]
        cores = min(max(1, int(node["CPU"] / count)) for node, count in zip(usable, on_node, strict=True))
        most = sum(min(count, int(node["CPU"] / cores)) for node, count in zip(usable, on_node, strict=True))
        return cls(gpus, cores, min(most, workers or most))


class Cluster:
    """A connection to Ray, over which workers are dealt tasks. They stay until it is closed, as processes start slowly.

    Args:
        share: what a worker gets.
        own: whether the connection is ours to end.

    Example:
        >>> vectors = np.random.default_rng(0).normal(size=(200, 8))
        >>> with fdgpu.Cluster.connect("local") as cluster:
        ...     fit = fdgpu.FailureDirections().fit(vectors, np.zeros(200, int), vectors[:, 0] > -1, cluster=cluster)
        >>> fit.directions_.shape
        (1, 1, 8)
    """

    def __init__(self, share: Share, own: bool) -> None:
        self.share, self._own = share, own
        self._idle: list[Actor] = []
        self._closed = False

    @classmethod
    def connect(
        cls, address: str = LOCAL, *, gpus_per_worker: float | None = None, workers: int | None = None
    ) -> Cluster:
        """Start Ray on this machine, or join a cluster; a connection that this process has already is used as it is.

        Args:
            address: ``"local"``; ``"auto"`` for the cluster that runs on this machine; or the address of a cluster's
                head, such as ``"10.0.0.1:6379"``.
            gpus_per_worker: a whole number, or a fraction below 1 for several workers on a GPU; by default 1 where
                there are GPUs. 0 for workers without.
            workers: at most; by default as many as there are GPUs for, and without GPUs one a node. The cores of a node
                are divided among its workers.

        Raises:
            InputError: for an argument that is none of these.
            BackendError: if the address does not answer within a minute, runs another version of Ray or Python, or has
                not what one worker asks for.
            MissingExtraError: if Ray is not installed.
        """
        if gpus_per_worker is not None:
            check_number(
                gpus_per_worker,
                "gpus_per_worker",
                lambda n: n >= 0 and (n < 1 or n == int(n)),
                "a whole number or a fraction",
            )
        check_text(address, "address")
        workers = None if workers is None else check_whole(workers, "workers", 1)
        ray = require("ray", "ray", "a cluster")
        own = not ray.is_initialized()
        if own:
            _connect(ray, address)
        try:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            return cls(Share.of(nodes, gpus_per_worker, workers), own)
        except BaseException:
            if own:
                ray.shutdown()
            raise

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, and the connection if it is ours."""
        if self._closed:
            return
        ray, self._closed = require("ray", "ray", "a cluster"), True
        for actor in self._idle:
            ray.kill(actor)
        if self._own:
            ray.shutdown()

    def deal(
        self,
        make: Callable[[], Callable[[Task], Result]],
        tasks: Iterable[Task],
        named: Callable[[Task], str] = str,
    ) -> Generator[tuple[int, Result]]:
        """Let workers do tasks; each holds what ``make`` makes there, and does one after the other.

        A task whose worker or node dies is given to another. No more are prepared than a few for each worker.

        Args:
            make: is sent to each worker, and returns the function that does a task.
            tasks: are sent to a worker each.
            named: what to call a task in an error.

        Yields:
            the number of a task and its result, as they come.

        Raises:
            FdgpuError: that a worker raised; it says on which node.
            InputError: for what cannot be sent to another process.
            BackendError: if a task ends three workers, no worker can begin, or the cluster was closed.
        """
        if self._closed:  # Ray would start anew
            raise BackendError("the cluster was closed: connect again")
        dealing = _Dealing(require("ray", "ray", "a cluster"), self.share, make, iter(enumerate(tasks)), named)
        yield from dealing.run(self._idle)


class Worker:
    """Lives in a process of the cluster, with so many cores, and in the folder of the driver where there is one."""

    def __init__(self, cores: int, folder: str) -> None:
        from threadpoolctl import threadpool_limits

        self.work: Callable[[Any], Any] | None = None
        os.environ[CORES] = os.environ["OMP_NUM_THREADS"] = str(cores)  # for what is loaded later, as torch is
        threadpool_limits(cores)
        with suppress(OSError):
            os.chdir(folder)

    def make(self, make: Callable[[], Callable[[Any], Any]], version: str) -> None:
        """Make what does the tasks, such as a model that is loaded, in place of what did the last."""
        self.work = None
        if "torch" in sys.modules:
            sys.modules["torch"].cuda.empty_cache()  # of what that held
        with _on_this_node():
            if version != __version__:
                raise BackendError(f"fdgpu {__version__} is installed here, and {version} where the cluster is used")
            self.work = make()

    def do(self, task: object) -> object:
        """Do one task."""
        with _on_this_node():
            return self.work(task)  # type: ignore[misc]  # it was made before


@contextmanager
def _on_this_node() -> Iterator[None]:
    """Say in an error of ours on which node it arose."""
    try:
        yield
    except FdgpuError as error:
        address = require("ray", "ray", "a cluster").util.get_node_ip_address()
        raise type(error)(f"on the node {socket.gethostname()} ({address}): {error}") from None


@dataclass
class _Hand(Generic[Task]):
    """A worker, and what it was given, in order; it is not ready until it has made what does the tasks."""

    actor: Actor
    ready: bool = False
    given: dict[Ref, tuple[int, Task] | None] = field(default_factory=dict)


class _Dealing(Generic[Task, Result]):
    """One call of :meth:`Cluster.deal`."""

    def __init__(
        self,
        ray: Any,
        share: Share,
        make: Callable[[], Callable[[Task], Result]],
        tasks: Iterator[tuple[int, Task]],
        named: Callable[[Task], str],
    ) -> None:
        self.ray, self.share, self.named = ray, share, named
        self.left, self.hands, self.ended = tasks, list[_Hand[Task]](), Counter[int]()
        self.stillborn = 0  # workers that died before they were ready, since one last was
        self.made = self._sent(make, "what the workers are to do")
        self.kind = ray.remote(Worker).options(num_cpus=share.cores, num_gpus=share.gpus, max_restarts=0)

    def run(self, idle: list[Actor]) -> Iterator[tuple[int, Result]]:
        """Yield numbers of tasks, and results.

        Args:
            idle: workers that are there, before and after; they end what they have, if this ends early.
        """
        first = next(self.left, None)
        if first is None:
            return
        self.left = chain([first], self.left)
        try:
            while idle:
                self._begin(idle.pop())
            while len(self.hands) < self.share.workers:
                self._begin(self._new())
            while self._none_ready or any(task for hand in self.hands for task in hand.given.values()):
                refs = [ref for hand in self.hands for ref in hand.given]
                done, _ = self.ray.wait(refs, num_returns=1, timeout=STARTS_WITHIN)
                if not done and self._none_ready:
                    raise BackendError(
                        f"no worker has begun within {STARTS_WITHIN} s: each asks for {self.share.gpus:g} GPUs and "
                        f"{self.share.cores} cores, which others may hold, or the cluster no longer has"
                    )
                for ref in done:
                    yield from self._arrived(ref)
        finally:
            idle.extend(hand.actor for hand in self.hands)

    @property
    def _none_ready(self) -> bool:
        return not any(hand.ready for hand in self.hands)

    def _new(self) -> Actor:
        return self.kind.remote(self.share.cores, str(Path.cwd()))

    def _begin(self, actor: Actor) -> None:
        self.hands.append(_Hand(actor, given={actor.make.remote(self.made, __version__): None}))

    def _arrived(self, ref: Ref) -> Iterator[tuple[int, Result]]:
        """Yield a result, after its worker was given more to do."""
        hand = next(hand for hand in self.hands if ref in hand.given)
        try:
            result = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            del hand.given[ref]
            raise self._cause(error) from (None if isinstance(error.cause, FdgpuError) else error)
        except self.ray.exceptions.RayError as error:
            self._died(hand, error)
            return
        task = hand.given.pop(ref)
        hand.ready, self.stillborn = True, 0
        self._feed()
        if task is not None:
            yield task[0], result

    def _died(self, hand: _Hand[Task], error: Exception) -> None:
        """Give what a dead worker had to others, and start one in its place."""
        self.hands.remove(hand)
        self.ray.kill(hand.actor)
        given = [task for task in hand.given.values() if task is not None]
        if given:
            number, task = given[0]  # it was at this one
            self.ended[number] += 1
            if self.ended[number] == TRIES:
                raise BackendError(
                    f"{self.named(task)} ended {TRIES} workers, the last with: {_end_of(error)} Look at what it "
                    "holds, and at the memory of the nodes"
                )
        elif not hand.ready:
            self.stillborn += 1
            if self.stillborn == TRIES * self.share.workers:
                raise BackendError(
                    f"{self.stillborn} workers died before they had begun, the last with: {_end_of(error)} Look at "
                    "the memory of the nodes, and whether each has the same fdgpu"
                )
        self.left = chain(given, self.left)
        self._begin(self._new())
        self._feed()

    def _feed(self) -> None:
        """Give tasks to those who are ready: one to each, before any has two."""
        for held in range(IN_HAND):
            for hand in self.hands:
                if not hand.ready or len(hand.given) != held:
                    continue
                following = next(self.left, None)
                if following is None:
                    return
                sent = self._sent(following[1], self.named(following[1]))
                hand.given[hand.actor.do.remote(sent)] = following

    def _cause(self, error: Any) -> BaseException:
        """Return what a worker raised."""
        cause: BaseException = error.cause
        if not isinstance(cause, self.ray.exceptions.RaySystemError):
            return cause
        (reason,) = str(cause).strip().splitlines()[-1:]
        return BackendError(
            f"a worker could not read what it was sent ({reason}): install the same packages, of the same versions, on "
            "all nodes, and put classes of your own where each can import them"
        )

    def _sent(self, what: object, called: str) -> Ref:
        """Put something into the cluster's memory, once for all workers.

        Raises:
            InputError: if it cannot be sent.
        """
        try:
            return self.ray.put(what)
        except (TypeError, AttributeError, NotImplementedError) as error:
            raise InputError(
                f"{called} cannot be sent to other processes ({one_line(error)}): pass models by name or as a function "
                "that loads them, and images as a folder, a table or a file"
            ) from error


def _end_of(error: Exception) -> str:
    """Return the last line of an error of Ray, which says what happened."""
    return str(error).strip().splitlines()[-1].strip()[:LONGEST_REASON]


def _connect(ray: Any, address: str) -> None:
    """Start Ray here, or join a cluster.

    Raises:
        InputError: for an address of another kind.
        BackendError: if it cannot be joined.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody is told that it was started
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # one error is raised, and others of its kind are no news
    if address == LOCAL:
        from fdgpu.device import cpu_count

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of what Ray will do about GPUs that nobody asks for
            ray.init(LOCAL, num_cpus=cpu_count(), **QUIET)
        return
    if address != "auto":
        _reach(address)
    try:
        found = subprocess.run(  # noqa: S603 - Ray tries a dead address again and again, and cannot be interrupted
            [sys.executable, "-c", PROBE, address], capture_output=True, text=True, timeout=ANSWERS_WITHIN, check=False
        )
    except subprocess.TimeoutExpired:
        raise _no_answer(address, f"no answer within {ANSWERS_WITHIN} s") from None
    if found.returncode:
        raise _no_answer(address, " ".join(found.stderr.strip().splitlines()[-1:]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        ray.init(address, **QUIET)


def _reach(address: str) -> None:
    """Look whether something listens at an address, before Ray does."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise InputError(
            f"{address!r} is no address of a Ray cluster: pass 'local', 'auto', or that of its head, such as "
            "'10.0.0.1:6379', on a machine of the cluster"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACHED_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise _no_answer(address, one_line(error)) from None


def _no_answer(address: str, reason: str) -> BackendError:
    return BackendError(
        f"the Ray cluster at {address!r} cannot be joined ({reason}): start it by `ray start --head`, see that "
        "port and firewall let this machine through and that both have the same versions of Ray and Python, or pass "
        "'local'"
    )
