"""Work on a cluster: two nodes on one machine, of which one is killed; and addresses where there is no cluster."""

from __future__ import annotations

import doctest
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

import fdgpu
from fdgpu import cli
from fdgpu import cluster as cluster_module
from fdgpu.cluster import LOCAL, TRIES, Cluster, Share, Worker
from fdgpu.directions.fit import Fit
from fdgpu.embedding import Embeddings, ImageSource, image_source
from fdgpu.embedding.features import FeatureEmbedder
from fdgpu.embedding.sources import FileSource
from fdgpu.errors import BackendError, InputError, MissingExtraError, ModelError
from fdgpu.progress import silent
from fdgpu.store import fill
from fdgpu.store.pieces import Embedding, Images, Workers
from tests.conftest import make_class
from tools.pages import blocks

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of JAX, where another test has loaded it
NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}  # the least that Ray takes is 75 MB


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Two nodes of one core each, on this machine."""
    from ray.cluster_utils import Cluster as Nodes

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    nodes = Nodes(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    nodes.add_node(**NODE)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture(scope="module")
def cluster(nodes: Any) -> Iterator[Cluster]:
    with Cluster.connect(nodes.address) as cluster:
        yield cluster


# --- what a worker gets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "asked", "share"),
    [
        ([(8, 0)], {}, Share(0, 8, 1)),
        ([(8, 0)], {"workers": 3}, Share(0, 2, 3)),
        ([(8, 0)], {"workers": 30}, Share(0, 1, 8)),
        ([(64, 8)], {}, Share(1, 8, 8)),
        ([(64, 8)], {"gpus": 2}, Share(2, 16, 4)),
        ([(64, 8)], {"gpus": 0}, Share(0, 64, 1)),
        ([(2, 1)], {"gpus": 0.25}, Share(0.25, 1, 2)),
        ([(16, 0), (32, 4), (8, 4)], {}, Share(1, 2, 8)),
        ([(0, 0), (16, 1)], {}, Share(1, 16, 1)),
    ],
)
def test_nodes_are_divided_among_workers(nodes: Any, asked: dict[str, Any], share: Share) -> None:
    assert Share.of([{"CPU": float(cpus), "GPU": float(gpus)} for cpus, gpus in nodes], **asked) == share


@given(
    nodes=st.lists(st.tuples(st.integers(0, 96), st.integers(0, 8)), min_size=1, max_size=5),
    gpus=st.sampled_from([None, 0, 0.1, 0.3, 0.5, 1, 2, 8]),
    workers=st.none() | st.integers(1, 200),
)
def test_no_node_is_asked_for_more_than_it_has(
    nodes: list[tuple[int, int]], gpus: float | None, workers: int | None
) -> None:
    held = [{"CPU": float(cpus), "GPU": float(cards)} for cpus, cards in nodes]
    try:
        share = Share.of(held, gpus, workers)
    except BackendError:
        least = (1 if any(cards for _, cards in nodes) else 0) if gpus is None else gpus
        assert not any(cpus >= 1 and cards >= least for cpus, cards in nodes)
        return
    room = sum(
        min(cpus // share.cores, int(cards / share.gpus) if share.gpus else cpus // share.cores)
        for cpus, cards in nodes
    )
    assert 1 <= share.workers <= min(room, workers or room)


def test_what_no_node_has_is_refused() -> None:
    with pytest.raises(BackendError, match=r"asks for 2 GPUs and a core, and the nodes .* have 1 GPUs and 8"):
        Share.of([{"CPU": 8.0, "GPU": 1.0}], gpus=2)


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        {"address": "ray://head:10001"},
        {"address": "head"},
        {"address": 6379},
        {"address": ""},
        {"gpus_per_worker": 1.5},
        {"gpus_per_worker": -1},
        {"workers": 0},
    ],
)
def test_an_argument_that_is_none_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(asked)) if "address" not in asked else "address"):
        Cluster.connect(**asked)


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_an_address_where_nothing_listens_says_so_at_once(host: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(BackendError, match=rf"'{host}:{port}' cannot be joined \(.+\): start it by `ray start"):
        Cluster.connect(f"{host}:{port}")


def test_an_address_where_something_else_listens_is_not_waited_for_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "ANSWERS_WITHIN", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(BackendError, match=r"no answer within 0\.5 s"):
            Cluster.connect(address)


def test_a_cluster_of_another_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Traceback\nRuntimeError: Version mismatch: The cluster was started with: Ray: 2.9.0"
    failed = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(BackendError, match=r"Version mismatch: .* Ray: 2\.9\.0"):
        Cluster.connect("auto")


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"a cluster needs ray, .* pip install 'fdgpu\[ray\]'"):
        Cluster.connect(LOCAL)


def call(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "300", "NO_COLOR": "1"}).invoke(cli.app, [str(one) for one in arguments])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--ray", "127.0.0.1:1"], r"Invalid value for --ray: the Ray cluster at '127\.0\.0\.1:1' cannot be joined"),
        (["--ray-gpus", "0.5"], "Invalid value for --ray-gpus: there is no cluster: pass --ray too"),
        (["--ray", "local", "--ray-gpus", "1.5"], r"Invalid value for --ray: gpus_per_worker is 1\.5"),
    ],
)
@pytest.mark.parametrize("command", ["embed", "audit"])
def test_a_cluster_that_cannot_be_is_wrong_usage(
    photos: Path, tmp_path: Path, command: str, more: list[str], said: str
) -> None:
    given = ["--images", photos / "photos", "--predictions", photos / "predictions.csv"]
    result = call(
        command, *([photos / "photos"] if command == "embed" else given), "--model", "bundled", "--out",
        tmp_path / "out", *more,
    )  # fmt: skip
    assert result.exit_code == 2
    assert re.search(said, result.output)
    assert not (tmp_path / "out").exists()


def test_a_node_with_another_fdgpu_is_named() -> None:
    worker = Worker.__new__(Worker)  # no process of its own, whose threads it would limit
    with pytest.raises(BackendError, match=r"on the node .*: fdgpu .* is installed here, and 0\.0\.1 where"):
        worker.make(lambda: str, "0.0.1")


# --- tasks ------------------------------------------------------------------------------------------------------------


def doing(what: Callable[[Any], Any]) -> Callable[[], Callable[[Any], Any]]:
    """A worker that does something; it is sent by value, as a user's own function is."""
    return lambda: what


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray's own settings
def test_ray_reads_a_store_without_us(cluster: Cluster, tmp_path: Path) -> None:
    ray_data = pytest.importorskip("ray.data")
    while cluster._idle:  # Ray Data waits for a core, and workers hold both
        ray.kill(cluster._idle.pop())
    ray_data.DataContext.get_current().enable_progress_bars = False
    store = fdgpu.EmbeddingStore.create(tmp_path / "store", 4, shard_rows=3)
    store.append([*"abcde"], np.eye(5, 4), labels=[*"xyxyx"])
    (store.path / "_answers").mkdir()
    (store.path / "_answers" / "00000.parquet").write_bytes(b"of another kind")
    rows = sorted(ray_data.read_parquet(str(store.path)).take_all(), key=lambda row: row["id"])
    assert [(row["id"], row["label"]) for row in rows] == [*zip("abcde", "xyxyx", strict=True)]
    assert np.array_equal(np.stack([row["vector"] for row in rows]), np.eye(5, 4))
    written = (Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")
    (block,) = (one.code for one in blocks(written) if one.code.startswith("import ray.data"))
    found: dict[str, Any] = {}
    exec(block.replace('"store"', repr(str(store.path))), found)  # noqa: S102  our own lines
    assert [set(row) for row in found["rows"]] == [{"id", "vector"}] * 3


def test_the_example_in_the_docstring_runs(cluster: Cluster) -> None:  # noqa: ARG001  whose connection it uses
    failed, attempted = doctest.testmod(cluster_module, extraglobs={"fdgpu": fdgpu, "np": np})
    assert (failed, attempted > 0) == (0, True)


def test_tasks_come_back_by_their_number_and_workers_know_their_cores(cluster: Cluster) -> None:
    def square(x: int) -> tuple[int, int, int]:
        import torch

        from fdgpu.device import cpu_count

        return x * x, cpu_count(), torch.get_num_threads()

    assert cluster.share == Share(gpus=0, cores=1, workers=2)
    assert dict(cluster.deal(doing(square), range(9))) == {x: (x * x, 1, 1) for x in range(9)}


def test_a_cluster_that_was_closed_says_so(nodes: Any) -> None:
    assert nodes
    closed = Cluster(Share(0, 1, 2), own=False)
    closed.close()
    closed.close()
    with pytest.raises(BackendError, match="the cluster was closed: connect again"):
        list(closed.deal(doing(str), [1]))


def test_nothing_to_do_starts_nothing(cluster: Cluster) -> None:
    assert list(cluster.deal(doing(str), [])) == []


def test_an_error_of_ours_names_the_node_and_any_other_is_itself(cluster: Cluster) -> None:
    def fail(kind: type[Exception]) -> None:
        raise kind("the reason")

    with pytest.raises(ModelError, match=rf"on the node {socket.gethostname()} \(.+\): the reason"):
        list(cluster.deal(doing(fail), [ModelError]))
    with pytest.raises(KeyError, match="the reason"):
        list(cluster.deal(doing(fail), [KeyError]))


def test_a_worker_that_cannot_begin_says_on_which_node(cluster: Cluster) -> None:
    def without_weights() -> Callable[[int], int]:
        raise ModelError("there is no file w.pt")

    with pytest.raises(ModelError, match=rf"on the node {socket.gethostname()} .*there is no file w.pt"):
        list(cluster.deal(without_weights, [1]))


def test_what_cannot_be_sent_is_refused(cluster: Cluster) -> None:
    with pytest.raises(InputError, match="the third shard cannot be sent to other processes"):
        list(cluster.deal(doing(str), [(one for one in "abc")], lambda _: "the third shard"))


class Elsewhere:
    """Stands for a class that a worker cannot import."""

    def __reduce__(self) -> Any:
        return __import__, ("only_on_the_drivers_disk",)


def test_what_a_worker_cannot_import_is_named(cluster: Cluster) -> None:
    there = Elsewhere()
    with pytest.raises(BackendError, match=r"could not read .*No module named 'only_on_the_drivers_disk'.*all nodes"):
        list(cluster.deal(lambda: there, [1]))  # type: ignore[arg-type, return-value]


# --- the solver -------------------------------------------------------------------------------------------------------


def bits(fit: Fit) -> dict[str, Any]:
    """All numbers of a fit, but for seconds."""
    named = {name: getattr(fit, name) for name in fit.__dataclass_fields__ if name != "test_seconds"}
    named |= {"mean": fit.whitening.mean, "scale": fit.whitening.scale}
    arrays = {name: np.asarray(value) for name, value in named.items() if hasattr(value, "shape")}
    return {name: (value.dtype, value.shape, value.tobytes()) for name, value in arrays.items()}


def test_directions_are_those_of_one_process_to_the_bit(cluster: Cluster) -> None:
    sizes, told = [40, 90, 60, 30, 70, 50, 80], []
    parts = [make_class(n, 16, 0.3, 0.6 if n % 20 else 0.1, seed=n) for n in sizes]
    x, right = np.concatenate([one.x for one in parts]), np.concatenate([one.right for one in parts])
    labels = np.repeat(np.arange(len(sizes)), sizes)
    groups = np.where(labels == 2, np.arange(len(x)) // 2, np.arange(len(x)) + len(x))
    settings = {"n_permutations": 20, "stop_after": 8, "n_resamples": 3, "n_directions": 2, "nested": True}
    one = fdgpu.FailureDirections(**settings).fit(x, labels, right, groups=groups)
    many = fdgpu.FailureDirections(**settings).fit(
        x, labels, right, groups=groups, cluster=cluster, progress=lambda *report: told.append(report)
    )
    assert bits(many.fitted) == bits(one.fitted)
    assert many.fitted.n_permutations.max() > 20  # some were drawn on
    assert many.backend_ == one.backend_
    assert ("solve on the cluster", 6, 6) in told  # one of the seven has groups
    assert many.fit(x, labels, right, groups=groups).fitted.coef.tobytes() == one.fitted.coef.tobytes()


# --- the store --------------------------------------------------------------------------------------------------------

BATCH, SHARD = 4, 8


def tiny(seed: int = 0, seconds: float = 0.0) -> Callable[[], FeatureEmbedder]:
    """A function that loads a small network, which takes so many seconds for a batch."""

    def load() -> FeatureEmbedder:
        torch.manual_seed(seed)
        nn = torch.nn
        model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 6), nn.ReLU(), nn.Linear(6, 2))
        if seconds:
            model[0].register_forward_hook(lambda *_: time.sleep(seconds))
        return FeatureEmbedder(model, (8, 8), name="tiny", device="cpu", batch_size=BATCH)

    return load


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """43 pictures, of which one is damaged; in five shards and three more."""
    (tmp_path / "pictures").mkdir()
    for i in range(43):
        noise = np.random.default_rng(i).integers(0, 256, (9, 9, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "pictures" / f"{i:02d}.png")
    (tmp_path / "pictures" / "17.png").write_bytes(b"no picture")
    return tmp_path / "pictures"


def sources(folder: Path) -> dict[str, Callable[[], ImageSource]]:
    paths = sorted(folder.iterdir())
    arrays = [np.asarray(Image.open(path)) for path in paths if path.name != "17.png"]
    tensor = torch.from_numpy(np.stack(arrays)).movedim(3, 1)
    return {
        "a folder": lambda: image_source(folder),
        "splits, whose samples are sent": lambda: image_source({"val": paths[:20], "test": paths[20:]}),
        "a tensor": lambda: image_source(tensor),
        "what can be gone through once": lambda: image_source((one, f"label {i}") for i, one in enumerate(arrays)),
    }


def fill_store(folder: Path, source: ImageSource, workers: Workers | None = None, **more: Any) -> Embeddings:
    return fill(folder, source, tiny()(), silent, whole=True, shard_rows=SHARD, workers=workers, **more)


@pytest.mark.parametrize(
    "kind", ["a folder", "splits, whose samples are sent", "a tensor", "what can be gone through once"]
)
def test_a_store_is_that_of_one_process_to_the_bit(cluster: Cluster, pictures: Path, tmp_path: Path, kind: str) -> None:
    source = sources(pictures)[kind]
    one = fill_store(tmp_path / "one", source())
    many = fill_store(tmp_path / "many", source(), Workers(cluster, tiny()))
    assert files(tmp_path / "many") == files(tmp_path / "one")
    assert torch.equal(many.vectors.take(np.arange(42)), one.vectors.take(np.arange(42)))
    assert (many.ids, many.unreadable, many.fingerprint) == (one.ids, one.unreadable, one.fingerprint)
    assert len(files(tmp_path / "one")) == 1 + 6  # a manifest and shards


def test_one_process_finishes_what_a_cluster_began(cluster: Cluster, pictures: Path, tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int | None) -> None:
        assert (stage, total) == ("embed images", 43)
        if done > SHARD:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(
            tmp_path / "both", image_source(pictures), tiny()(), stop, whole=True, shard_rows=SHARD,
            workers=Workers(cluster, tiny()),
        )  # fmt: skip
    begun = files(tmp_path / "both")
    assert 2 < len(begun) < 7
    fill_store(tmp_path / "both", image_source(pictures))
    fill_store(tmp_path / "one", image_source(pictures))
    assert files(tmp_path / "both") == files(tmp_path / "one")
    assert begun.items() - files(tmp_path / "one").items() <= {("_manifest.json", begun["_manifest.json"])}


def test_a_worker_with_other_weights_is_refused_by_its_node(cluster: Cluster, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=rf"on the node {socket.gethostname()} .*weights with the fingerprint .*all nodes"
    ):
        fill_store(tmp_path / "store", image_source(pictures), Workers(cluster, tiny(seed=1)))
    assert not (tmp_path / "store").exists()


def test_files_that_only_the_driver_sees_are_no_damaged_images(pictures: Path) -> None:
    source = image_source(pictures)
    assert isinstance(source, FileSource)
    stamps = source.stamps(range(43))
    there, gone = (Images(source.ids[:SHARD], range(SHARD), stamps[:SHARD]) for _ in range(2))
    embedding = Embedding(tiny()(), None, source)
    assert len(embedding(there)) == SHARD
    source.paths[3].unlink()
    with pytest.raises(InputError, match=r"1 images are not there, such as 03\.png: put the images where every node"):
        embedding(gone)
    damaged = Images(source.ids[16:24], range(16, 24), stamps[16:24])
    assert [own for own in embedding(damaged).skipped if own]  # which lies there, and is none


# --- audits -----------------------------------------------------------------------------------------------------------


def audit_json(folder: Path) -> dict[str, Any]:
    """What an audit wrote, but for seconds and the cores of the solver."""
    read: dict[str, Any] = json.loads((folder / "audit.json").read_text())
    return {name: value for name, value in read.items() if name not in {"timings", "backend_reason"}}


@pytest.mark.parametrize("asked", [False, True], ids=["of predictions", "that asks the model"])
def test_an_audit_is_that_of_one_process(cluster: Cluster, photos: Path, tmp_path: Path, asked: bool) -> None:
    given: dict[str, Any] = {"labels": photos / "predictions.csv"}
    if asked:
        greys = {path.name: Image.open(path).getpixel((0, 0))[0] for path in (photos / "photos").iterdir()}  # type: ignore[index]
        light = torch.nn.Linear(3 * 16 * 16, 2)
        torch.nn.init.constant_(light.weight, 1 / 768)
        light.weight.data[1] = 0
        light.bias.data = torch.tensor([0.0, 0.5])
        model = fdgpu.Classifier.from_model(
            torch.nn.Sequential(torch.nn.Flatten(), light),
            preprocess=lambda image: torch.from_numpy(np.array(image)).movedim(2, 0) / 255,
            class_names=["cat", "dog"],
        )
        given = {"labels": {own: "cat" if grey > 80 else "dog" for own, grey in greys.items()}, "model": model}
    settings = fdgpu.FailureDirections(n_permutations=20, n_resamples=2)
    for name, joined in (("one", None), ("many", cluster)):
        fdgpu.audit(
            photos / "photos", **given, embedder=tiny(), directions=settings, out=tmp_path / name, cluster=joined
        )
    assert audit_json(tmp_path / "many") == audit_json(tmp_path / "one")
    stores = [files(tmp_path / name / "embeddings") for name in ("one", "many")]
    assert stores[0] == stores[1]
    assert any("_answers" in path for path in stores[0]) == asked


def test_a_cluster_without_a_store_is_refused(cluster: Cluster, photos: Path) -> None:
    with pytest.raises(InputError, match="workers of a cluster embed into a store, and there is none: pass out or"):
        fdgpu.audit(photos / "photos", photos / "predictions.csv", embedder=tiny(), cluster=cluster)


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_command_embeds_on_a_cluster(
    cluster: Cluster, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def connect(address: str, **more: object) -> Cluster:
        asked.append((address, more))
        return cluster

    monkeypatch.setattr(Cluster, "connect", connect)
    monkeypatch.setattr(Cluster, "close", lambda _: asked.append("to end"))
    for name, more in (("one", []), ("many", ["--ray", "auto", "--ray-gpus", "0"])):
        result = call(
            "embed", photos / "photos", "--model", "bundled", "--out", tmp_path / name, "--shard-rows", 20, *more
        )
        assert result.exit_code == 0, result.output
    assert asked == [("auto", {"gpus_per_worker": 0.0}), "to end"]
    one, many = (fdgpu.EmbeddingStore.open(tmp_path / name) for name in ("one", "many"))
    assert one.ids == many.ids
    assert len(files(tmp_path / "many")) == 1 + 3
    assert torch.allclose(one.rows().take(np.arange(60)), many.rows().take(np.arange(60)), atol=1e-5)


# --- deaths -----------------------------------------------------------------------------------------------------------


def test_a_node_that_is_killed_costs_nothing_but_time(
    cluster: Cluster, nodes: Any, pictures: Path, tmp_path: Path
) -> None:
    killed = []

    def kill(_: str, done: int, __: int | None) -> None:
        if done >= SHARD and not killed:
            killed.append(nodes.remove_node(nodes.list_all_nodes()[1], allow_graceful=False))

    fill(
        tmp_path / "many", image_source(pictures), tiny()(), kill, whole=True, shard_rows=SHARD,
        workers=Workers(cluster, tiny(seconds=0.1)),
    )  # fmt: skip
    assert killed
    fill_store(tmp_path / "one", image_source(pictures))
    assert files(tmp_path / "many") == files(tmp_path / "one")


def test_a_task_that_ends_every_worker_ends_the_work_and_others_are_done(cluster: Cluster) -> None:
    def die(x: str) -> str:
        if x == "bad.jpg":
            os._exit(1)
        return x

    done = []

    def go() -> None:
        for _, one in cluster.deal(doing(die), ["a", "bad.jpg", "b", "c"], lambda one: f"the images from {one} on"):
            done.append(one)

    with pytest.raises(BackendError, match=rf"the images from bad\.jpg on ended {TRIES} workers"):
        go()
    assert set(done) <= {"a", "b", "c"}
