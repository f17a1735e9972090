"""A run that goes on: the store is the uninterrupted one byte for byte, and what differs is refused by name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import to_tensor

import fdgpu
from fdgpu import EmbeddingStore
from fdgpu.embedding import image_source
from fdgpu.embedding.loading import Sample
from fdgpu.embedding.opening import class_folders
from fdgpu.embedding.sources import ImageSource, SplitSource, TensorSource
from fdgpu.errors import InputError
from fdgpu.store.writing import writing
from tests.embedding.greys import encoded, grey
from tests.store.tiny import ODD, Greys, content, filled, folder_of, shards, vectors_of

pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of JAX, where another test has loaded it

NAMES = [f"{label}/{i}.png" for label in ("cat", "dog") for i in range(6)]
NAMES[4], NAMES[9] = "cat/4 broken.png", "dog/\udcff.png"
ROWS = 5  # of a shard: no multiple of the batch


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("photos"), NAMES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    store = tmp_path_factory.mktemp("whole") / "store"
    filled(store, class_folders(photos), whole=True, shard_rows=ROWS)
    return store


def same(found: Any, other: Any) -> None:
    """Two embeddings of the same images."""
    assert (found.ids, found.unreadable, found.treated) == (other.ids, other.unreadable, other.treated)
    assert found.fingerprint == other.fingerprint
    assert (found.labels, found.splits) == (other.labels, other.splits)
    assert vectors_of(found).tobytes() == np.nan_to_num(vectors_of(other)).tobytes()


# --- going on ---------------------------------------------------------------------------------------------------------


def test_a_store_gives_what_the_embedder_gives(whole: Path, photos: Path) -> None:
    spy = Greys()
    through = filled(whole, class_folders(photos), spy)
    assert spy.embedded == 0
    plain = Greys().embed(class_folders(photos), fingerprint=True)
    same(through, plain)
    assert set(through.unreadable) == {"cat/4 broken.png"}
    assert EmbeddingStore.open(whole).skipped.null_count == len(NAMES) - 1
    EmbeddingStore.open(whole).check()


@pytest.mark.parametrize("lost", [some for n in (1, 2, 3) for some in combinations(range(3), n)])
def test_whatever_shards_are_missing_the_store_becomes_the_same(
    tmp_path: Path, whole: Path, photos: Path, lost: tuple[int, ...]
) -> None:
    store = shutil.copytree(whole, tmp_path / "store")
    missing = 0
    for number in lost:
        missing += EmbeddingStore.open(store).shards[number - len(lost[: lost.index(number)])].n
        (store / f"{number:05d}.parquet").unlink()
        (store / f".{number:05d}.parquet.part").write_bytes(b"half")
    (store / "._manifest.json.part").write_bytes(b"{")
    spy = Greys()
    found = filled(store, class_folders(photos), spy, whole=True)
    assert content(store) == content(whole)
    assert spy.embedded == missing - (0 in lost)  # the broken one is in the first
    same(found, Greys().embed(class_folders(photos), fingerprint=True))


class Stops(Greys):
    """Fails when it has embedded so many images."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.embedded + len(pixels) > self.after:
            raise KeyboardInterrupt
        return super()._features(pixels)


@settings(max_examples=12)
@given(stops=st.lists(st.integers(0, 12), max_size=5))
def test_however_often_it_is_stopped_nothing_is_embedded_twice_but_the_shard_in_hand(
    stops: list[int], whole: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store, embedded = tmp_path_factory.mktemp("stopped") / "store", 0
    for after in stops:
        stopping = Stops(after)
        try:
            filled(store, class_folders(photos), stopping, whole=True, shard_rows=ROWS)
        except KeyboardInterrupt:
            embedded += stopping.embedded
            continue
        embedded += stopping.embedded
        break
    last = Greys()
    filled(store, class_folders(photos), last, whole=True, shard_rows=ROWS)
    assert content(store) == content(whole)
    assert embedded + last.embedded <= len(NAMES) + len(stops) * ROWS


def test_more_images_are_embedded_and_what_is_there_stays(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", [f"{i}.png" for i in range(0, 20, 2)])
    filled(tmp_path / "store", photos, whole=True, shard_rows=4)
    before = content(tmp_path / "store")
    folder_of(tmp_path / "photos", [f"{i}.png" for i in range(1, 20, 2)], 100)
    spy = Greys()
    found = filled(tmp_path / "store", photos, spy, whole=True)
    assert spy.embedded == 10
    assert found.ids == sorted(f"{i}.png" for i in range(20))
    same(found, Greys().embed(photos, fingerprint=True))
    after = content(tmp_path / "store")
    assert {name: after[name] for name in before if name != "_manifest.json"} == {
        name: data for name, data in before.items() if name != "_manifest.json"
    }
    complete = EmbeddingStore.open(tmp_path / "store").manifest.complete
    assert complete is not None
    assert complete.images == 20


def test_a_part_of_a_store_is_a_source_of_its_own(tmp_path: Path, whole: Path, photos: Path) -> None:
    some = [photos / name for name in (NAMES[7], NAMES[0], NAMES[4])]
    spy = Greys()
    found = filled(shutil.copytree(whole, tmp_path / "store"), folder_of_links(tmp_path / "some", photos, some), spy)
    assert spy.embedded == 0
    assert found.ids == ["cat/0.png", "cat/4 broken.png", "dog/1.png"]
    assert set(found.unreadable) == {"cat/4 broken.png"}


def folder_of_links(folder: Path, root: Path, paths: list[Path]) -> Path:
    for path in paths:
        link = folder / path.relative_to(root)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return folder


def test_a_complete_store_that_lacks_a_shard_is_no_data_set(tmp_path: Path, whole: Path) -> None:
    store = shutil.copytree(whole, tmp_path / "store")
    (store / "00001.parquet").unlink()
    said = "was complete with 12 images, and has 7: embed the others with fdgpu embed"
    with pytest.raises(InputError, match=said):
        EmbeddingStore.open(store).check()
    with pytest.raises(InputError, match=said):
        fdgpu.audit(embeddings=EmbeddingStore.open(store), predictions=["cat"] * 7)
    again = EmbeddingStore.open(whole)
    grown = EmbeddingStore.open(shutil.copytree(again.path, tmp_path / "grown"))
    grown.append(["more"], np.eye(1, 5))
    grown.check()


def test_nothing_can_be_made_of_no_image(tmp_path: Path) -> None:
    class Nothing(ImageSource):
        ids = ()
        count = 0

        def samples(self) -> Iterator[Sample]:
            return iter(())

    found = filled(tmp_path / "a" / "store", Nothing(), whole=True)
    assert found.ids == []
    assert found.vectors.shape == (0, 5)
    assert not (tmp_path / "a" / "store").exists()  # nothing was finished


def test_vectors_that_are_not_finite_are_told(tmp_path: Path) -> None:
    images = torch.stack([torch.full((3, 8, 8), level, dtype=torch.uint8) for level in (10, ODD, 200)])
    found = filled(tmp_path / "store", images)
    assert found.unreadable == {"1": "its embedding is not finite"}
    again = filled(tmp_path / "store", images)
    assert again.unreadable == found.unreadable
    assert vectors_of(again)[1].tolist() == [0] * 5
    assert found.fingerprint == again.fingerprint == Greys().embed(images, fingerprint=True).fingerprint


def test_a_batch_in_which_no_image_can_be_read(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", [f"{i} broken.png" for i in range(4)] + ["5.png", "6.png"])
    found = filled(tmp_path / "store", photos, shard_rows=3)
    same(found, Greys().embed(photos, fingerprint=True))
    assert found.fingerprint == Greys(batch_size=6).embed(photos, fingerprint=True).fingerprint
    same(filled(tmp_path / "store", photos), found)


# --- sources ----------------------------------------------------------------------------------------------------------


class Items(Dataset[Any]):
    def __init__(self, labels: list[Any], levels: list[int] | None = None) -> None:
        self.labels, self.levels = labels, levels or [10 * i for i in range(len(labels))]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Any:
        return grey(self.levels[row]), self.labels[row]


class Own(ImageSource):
    """Ids are not known beforehand."""

    def __init__(self, names: list[str], labels: list[Any] | None = None) -> None:
        self.names, self.given = names, labels or [None] * len(names)

    def samples(self) -> Iterator[Sample]:
        for i, (name, label) in enumerate(zip(self.names, self.given, strict=True)):
            yield Sample(name, grey(7 * i), label, "val")


def frame(**columns: Any) -> Any:
    return pytest.importorskip("pandas").DataFrame(columns)


SOURCES = {
    "a tensor": lambda _: torch.arange(7 * 3 * 64).reshape(7, 3, 8, 8).remainder(251).to(torch.uint8),
    "a list": lambda _: [grey(9 * i) for i in range(7)],
    "pairs": lambda _: [(grey(9 * i), np.int64(i % 2)) for i in range(7)],
    "a Dataset": lambda _: Items([torch.tensor(i % 2) for i in range(7)]),
    "conditions": lambda _: Items([torch.tensor([i % 2, 1]) for i in range(7)]),
    "a Dataset with workers": lambda _: DataLoader(Items(["cat", "dog"] * 4), batch_size=2, num_workers=1),
    "splits": lambda _: {"train": Items([0, 1, 1]), "val": [grey(i) for i in range(4)]},
    "splits of unknown ids": lambda _: SplitSource({"train": Own(["a", "b"]), "val": TensorSource(rows(5))}),
    "ids that are not known": lambda _: Own([f"n{i}" for i in range(7)], [None, "cat"] * 3 + ["dog"]),
    "ids that are no UTF-8": lambda _: Own([f"n{i}\udcff" for i in range(7)]),
    "a frame": lambda _: frame(image=[encoded(20 * i) for i in range(7)], label=["cat", None, "dog"] * 2 + ["cat"]),
    "tar shards": lambda folder: tars(folder, [(f"{i}", i, str(i % 2)) for i in range(7)]),
}  # fmt: skip


def rows(n: int) -> torch.Tensor:
    return torch.arange(n * 3 * 64).reshape(n, 3, 8, 8).remainder(251).to(torch.uint8)


def tars(folder: Path, samples: list[tuple[str, int, str]]) -> str:
    wds = pytest.importorskip("webdataset")
    folder.mkdir(exist_ok=True)
    with wds.ShardWriter(str(folder / "part-%03d.tar"), maxcount=3, verbose=0) as writer:
        for key, level, label in samples:
            writer.write({"__key__": key, "png": encoded(level), "cls": label.encode()})
    return str(folder / "part-*.tar")


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("lost", [1, "all"])
def test_every_kind_of_source_goes_on(tmp_path: Path, kind: str, lost: object) -> None:
    images = SOURCES[kind](tmp_path / "tars")
    store = tmp_path / "store"
    first = filled(store, images, whole=True, shard_rows=3)
    plain = Greys().embed(image_source(images), fingerprint=True)
    told = (plain.ids, [own.tolist() if hasattr(own, "tolist") else own for own in plain.labels], plain.splits)
    assert vectors_of(first).tobytes() == np.nan_to_num(vectors_of(plain)).tobytes()
    assert first.fingerprint == plain.fingerprint
    before = content(store)
    for shard in [shards(store)[lost]] if isinstance(lost, int) else shards(store):
        (store / shard).unlink()
    spy = Greys()
    again = filled(store, images, spy, whole=True)
    assert content(store) == before
    assert spy.embedded == (3 if lost == 1 else 7 + ("workers" in kind))
    for found in (first, again, filled(store, images, Greys(), whole=True)):
        labels = [own.tolist() if hasattr(own, "tolist") else own for own in found.labels]
        assert (found.ids, labels, found.splits) == told
        assert found.fingerprint == plain.fingerprint
        assert vectors_of(found).tobytes() == vectors_of(first).tobytes()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves shards to the collector
def test_a_shuffled_webdataset_finds_its_pictures_again(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    levels = {f"{i}": 30 * i for i in range(8)}
    address = tars(tmp_path / "tars", [(key, level, "0") for key, level in levels.items()])
    every = sorted(str(one) for one in Path(address).parent.glob("*.tar"))
    shuffled = wds.WebDataset(every, shardshuffle=False, seed=1).shuffle(100, initial=100)
    source = image_source(shuffled)
    for lost in ([], [1], []):
        for number in lost:
            (tmp_path / "store" / shards(tmp_path / "store")[number]).unlink()
        found = filled(tmp_path / "store", source, shard_rows=3)
        pictures = source.pictures(range(8), 8)
        assert [levels[own.split(".")[0]] for own in found.ids] == [int(one.mean()) for one in pictures]
        one_by_one = dict(zip(found.ids, vectors_of(found).tolist(), strict=True))
        plain = Greys().embed(address)
        assert one_by_one == dict(zip(plain.ids, vectors_of(plain).tolist(), strict=True))


def test_labels_are_those_of_today(tmp_path: Path) -> None:
    images: Any
    for name, images in (("known", Items), ("not known", lambda labels: Own([f"{i}" for i in range(4)], labels))):
        store, spy = tmp_path / name, Greys()
        filled(store, images(["cat", "dog", "cat", "dog"]))
        assert filled(store, images(["cat", "cat", "dog", "dog"]), spy).labels == ["cat", "cat", "dog", "dog"]
        assert spy.embedded == 0


@pytest.mark.parametrize("known", [True, False])
def test_an_id_that_comes_twice_is_refused(tmp_path: Path, known: bool) -> None:
    source = TensorSource(rows(4), ["a", "b", "a", "c"]) if known else Own(["a", "b", "x", "y", "a"])
    with pytest.raises(InputError, match="images gave 2 images the id 'a': give every image an id of its own"):
        filled(tmp_path / "store", source)


def test_a_file_that_is_listed_twice_is_embedded_once(tmp_path: Path, photos: Path) -> None:
    paths = [photos / NAMES[row] for row in (0, 1, 0, 2, 4, 4)]
    spy = Greys()
    found = filled(tmp_path / "store", paths, spy, shard_rows=2)
    assert spy.embedded == 3
    same(found, Greys().embed(paths, fingerprint=True))
    assert len(EmbeddingStore.open(tmp_path / "store")) == 4


def test_a_generator_is_gone_through_once(tmp_path: Path) -> None:
    found = filled(tmp_path / "store", (grey(i) for i in range(5)), shard_rows=2)
    assert found.ids == ["0", "1", "2", "3", "4"]
    with pytest.raises(InputError, match="can be gone through only once"):
        filled(tmp_path / "store", (grey(i) for i in range(5)))
    assert len(EmbeddingStore.open(tmp_path / "store")) == 5


def test_a_loader_that_shuffles_is_gone_through_once() -> None:
    in_order, shuffled = (DataLoader(Items([0, 1, 1]), 2, shuffle=one, collate_fn=stacked) for one in (False, True))
    assert not image_source(in_order).once
    assert image_source(shuffled).once


def stacked(items: list[Any]) -> Any:
    return torch.stack([torch.tensor(np.asarray(image)).movedim(2, 0) for image, _ in items]), [1] * len(items)


# --- what differs -----------------------------------------------------------------------------------------------------


def test_images_that_changed_are_named_and_a_new_time_alone_is_nothing(tmp_path: Path, photos: Path) -> None:
    own = shutil.copytree(photos, tmp_path / "photos")
    filled(tmp_path / "store", own, whole=True, shard_rows=4)
    os.utime(own / NAMES[0], ns=(1, 1))
    spy = Greys()
    filled(tmp_path / "store", own, spy, whole=True)
    assert spy.embedded == 0
    before = content(tmp_path / "store")
    for name, level in ((NAMES[5], 222), (NAMES[4], 1)):  # the broken one can be read now
        grey(level).save(own / name)
    with pytest.raises(
        InputError, match=r"2 images of .* changed since they were embedded, such as 'cat/4 .*'cat/5"
    ) as e:
        filled(tmp_path / "store", own, whole=True)
    assert "delete 00001.parquet in it, whose images are then embedded anew" in str(e.value)
    assert content(tmp_path / "store") == before
    (tmp_path / "store" / "00001.parquet").unlink()
    same(filled(tmp_path / "store", own, whole=True), Greys().embed(own, fingerprint=True))


def test_a_transform_that_changed_is_a_picture_that_changed(tmp_path: Path, photos: Path) -> None:
    """Files are the same, and so are their times."""
    own = shutil.copytree(photos, tmp_path / "photos", ignore=shutil.ignore_patterns("*broken*", "*\udcff*"))

    class Lit(ImageFolder):
        def __init__(self, least: float) -> None:
            super().__init__(own)
            self.least = least

        def __getitem__(self, row: int) -> Any:
            image, label = super().__getitem__(row)
            return to_tensor(image).clamp(min=self.least), label

    first = filled(tmp_path / "store", Lit(0.0))
    assert filled(tmp_path / "store", Lit(0.0)).fingerprint == first.fingerprint
    with pytest.raises(InputError, match="changed since they were embedded"):
        filled(tmp_path / "store", Lit(0.9))


def test_images_that_went_are_named(tmp_path: Path, photos: Path) -> None:
    own = shutil.copytree(photos, tmp_path / "photos")
    filled(tmp_path / "store", own, whole=True, shard_rows=4)
    (own / NAMES[0]).unlink()
    with pytest.raises(
        InputError, match=r"1 images of .* went: the source has none of their names, such as 'cat/0.png'"
    ):
        filled(tmp_path / "store", own, whole=True)
    assert len(filled(tmp_path / "store", own).ids) == len(NAMES) - 1  # a part of the store's


def test_black_pictures_are_pictures(tmp_path: Path) -> None:
    """On a device their checksum is 0."""
    source = TensorSource(torch.zeros(3, 3, 8, 8, dtype=torch.uint8))
    filled(tmp_path / "store", source)
    store = EmbeddingStore.open(tmp_path / "store")
    assert store.column("picture").null_count == 0
    with pytest.raises(InputError, match=r"1 images of .* changed"):
        filled(tmp_path / "store", TensorSource(torch.tensor([0, 9, 0]).byte()[:, None, None, None].repeat(1, 3, 8, 8)))


class Renamed(Greys):
    def __init__(self) -> None:
        super().__init__()
        self.name = "others"


class Wider(Greys):
    dimension = 6

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(super()._features(pixels), (0, 1))


class Cropping(Greys):
    @property
    def preprocessing(self) -> str:
        return "in another way"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda: Greys(seed=1), "holds weights with the fingerprint .*, and this run has weights with the fingerprint"),
        (Renamed, "holds the model 'greys', and this run has the model 'others'"),
        (Wider, "holds vectors of 5 numbers.*, and this run has vectors of 6 numbers"),
        (Cropping, "holds the preprocessing .*, and this run has the preprocessing 'in another way'"),
        (lambda: Greys(precision="float16"), "holds vectors in 'float32'.*this run has vectors in 'float16'"),
        (lambda: Greys(precision="bfloat16"), "computed in 'float32', and this run has .* computed in 'bfloat16'"),
    ],
)
def test_another_run_is_refused_by_what_differs(
    tmp_path: Path, whole: Path, photos: Path, other: Any, said: str
) -> None:
    store = shutil.copytree(whole, tmp_path / "store")
    with pytest.raises(InputError, match=said):
        filled(store, class_folders(photos), other())
    assert content(store) == content(whole)


@pytest.mark.parametrize("model", [None, "a name", torch.nn.ReLU()])
def test_an_embedder_without_weights_keeps_no_store(tmp_path: Path, photos: Path, model: Any) -> None:
    embedder = Greys()
    embedder.model = model  # type: ignore[assignment]
    with pytest.raises(InputError, match="no model whose weights tell it from others"):
        filled(tmp_path / "store", photos, embedder)
    assert not (tmp_path / "store").exists()


# --- one at a time ----------------------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_and_leaves_the_first_alone(tmp_path: Path, photos: Path) -> None:
    """Even before the first has finished a shard."""
    refused: list[str] = []

    class Meddled(Greys):
        def _features(self, pixels: torch.Tensor) -> torch.Tensor:
            with pytest.raises(InputError, match="is being written by another run") as error:
                filled(tmp_path / "store", photos)
            refused.append(str(error.value))
            return super()._features(pixels)

    filled(tmp_path / "store", photos, Meddled(), whole=True, shard_rows=ROWS)
    assert len(refused) == 4
    EmbeddingStore.open(tmp_path / "store").check()
    assert len(EmbeddingStore.open(tmp_path / "store")) == len(NAMES)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("begun", [True, False])
def test_what_another_run_wrote_before_the_lock_was_had_is_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool, begun: bool
) -> None:
    names = [f"{i}" for i in range(7)]
    source = TensorSource(rows(7), names) if known else Own(names)
    store = tmp_path / "store"
    if begun:
        filled(store, source, shard_rows=3)
        (store / "00001.parquet").unlink()
    spy, others = Greys(), [Greys()]

    def late(folder: Path) -> Any:
        if others:
            filled(store, source, others.pop(), shard_rows=3)
        return writing(folder)

    monkeypatch.setattr("fdgpu.store.filling.writing", late)
    found = filled(store, source, spy, shard_rows=3)
    assert spy.embedded == 0
    assert found.ids == names
    assert EmbeddingStore.open(store).ids.to_pylist().count("4") == 1


def test_a_folder_that_may_not_be_written(
    tmp_path: Path, whole: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = shutil.copytree(whole, tmp_path / "store")
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK and access(path, mode))
    same(filled(store, class_folders(photos), whole=True), Greys().embed(class_folders(photos), fingerprint=True))
    monkeypatch.undo()
    (store / "00001.parquet").unlink()
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK and access(path, mode))
    with pytest.raises(InputError, match="cannot be written"):
        filled(store, class_folders(photos), whole=True)
    assert shards(store) == ["00000.parquet", "00002.parquet"]
