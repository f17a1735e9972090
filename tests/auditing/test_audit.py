"""The whole job on a few rendered pictures: what it writes, and what it does with bad input."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import fdgpu
from fdgpu import CaptionGrammar, ClipEmbedder, FailureDirections
from fdgpu.auditing.images import Embedded
from fdgpu.directions import groups
from fdgpu.embedding.sources import FileSource, TensorSource
from fdgpu.errors import FdgpuWarning, InputError
from fdgpu.index import exact
from tests.auditing.conftest import CLASSES, PER_CLASS, audit_world
from tests.counted_rows import CountedRows, read_in_blocks


def test_it_finds_and_names_the_failure(audited) -> None:
    boot = next(c for c in audited.findings.classes if c.name == "boot")
    assert boot.status == "ok"
    assert boot.cv_score > 0.8
    assert "on a white background" in boot.hard_captions[0].caption
    assert "on a black background" in boot.strongest.easy_captions[0].caption
    hard, easy = boot.strongest.nearest_accuracy
    assert hard.value[0] < easy.value[0]


def test_a_planted_caption_is_reliable_and_says_why(audited) -> None:
    boot = next(c for c in audited.findings.classes if c.name == "boot")
    assert boot.strongest.hardest_caption == boot.hard_captions[0].caption
    first = boot.hard_captions[0].evidence
    assert first.reliable
    assert "gap" in first.decided_by
    assert (first.rank, first.candidates, first.nearest) == (1, 64, 10)
    assert first.gap_low < first.gap < first.gap_high < 0
    assert first.top_share >= 0.9
    heads = [caption.caption for caption in boot.hard_captions]
    members = [text for caption in boot.hard_captions for text in caption.also]
    assert not set(heads) & set(members)
    assert len(set(members)) == len(members)
    document = json.loads((audited.out / "audit.json").read_text())
    stored = next(entry for entry in document["classes"] if entry["name"] == "boot")
    assert stored["hardest_caption"] == heads[0]
    assert stored["reliable_hard_captions"][0] == heads[0]
    assert stored["hard_captions"][0]["evidence"]["gap"] == pytest.approx(first.gap)
    assert document["caption_rules"]["gap_level"] == pytest.approx(0.99)
    rows = pq.read_table(audited.out / "captions.parquet").to_pylist()
    by_text = {row["caption"]: row for row in rows}
    assert by_text[heads[0]]["reliable"] is True
    assert by_text[members[0]]["group"] in heads
    assert {row["reliable"] for row in rows} >= {True, None}


def without_seconds(out: Path) -> dict:
    document = json.loads((out / "audit.json").read_text())
    document.pop("timings")
    return document


def test_an_audit_of_vectors_that_are_had_in_parts_is_the_same(
    audited, world: dict, clip: ClipEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[CountedRows] = []
    of = Embedded.of

    def in_parts(*args: object) -> Embedded:
        embedded = of(*args)
        parts.append(CountedRows(embedded.vectors.take(np.arange(len(embedded.ids)))))
        return replace(embedded, vectors=parts[0])

    monkeypatch.setattr(Embedded, "of", in_parts)
    read_in_blocks(monkeypatch, 7, clip.dimension)
    monkeypatch.setattr(groups, "ROW_BYTES", dict.fromkeys(("cpu", "cuda"), 4 * clip.dimension * 7))
    for sizes in (exact.KEYS, exact.ASKED):
        monkeypatch.setitem(sizes, "cpu", 7)
    audit_world(world, clip, tmp_path)
    assert without_seconds(tmp_path) == without_seconds(audited.out)
    for name in ("captions.parquet", "examples.parquet"):
        assert (tmp_path / name).read_bytes() == (audited.out / name).read_bytes()
    (rows,) = parts
    assert rows.most == 2 * PER_CLASS  # coats and bags, which a regression tells apart; of everything else 7
    shown = rows.reads[np.array(world["splits"]) == "test"]
    # For the mean, as a neighbour, and to ask for its own in two splits; for its decision value, and its place on the
    # map; and to judge captions by, or, of the classes that have none, to tell errors from right images.
    assert (shown.min(), shown.max()) == (7, 7)


def test_classes_without_a_direction_say_why(audited) -> None:
    by_name = {c.name: c for c in audited.findings.classes}
    assert (by_name["bag"].status, by_name["coat"].status) == ("no_errors", "all_errors")
    assert by_name["bag"].remedy
    assert not by_name["bag"].hard_examples


def test_the_folder_holds_the_contract(audited, world: dict) -> None:
    names = {path.name for path in audited.out.iterdir()}
    tables = {"examples.parquet", "captions.parquet", "effects.parquet", "causes.csv"}
    assert names == tables | {"report.html", "audit.json", "directions.safetensors", "embeddings"}
    document = json.loads((audited.out / "audit.json").read_text())
    assert set(document) >= {"fdgpu", "seed", "model", "backend", "classes", "timings", "skipped"}
    assert document["text_method"] == "prefix_tree"
    assert "causal" in document["text_method_reason"]
    assert document["activation"] == "gelu"
    assert document["activation_reason"] == "the model's configuration says so"
    assert document["model"] == "bundled"
    boot = next(entry for entry in document["classes"] if entry["name"] == "boot")
    keys = "name status n n_errors cv_score p_value q_value C hard_captions easy_captions hard_examples easy_examples"
    assert set(boot) >= set(keys.split())
    assert boot["tested"]
    assert boot["p_value"] <= 0.05
    assert set(boot["hard_captions"][0]) >= {"caption", "score"}
    assert all(isinstance(path, str) for path in boot["hard_examples"])
    assert boot["n"] == PER_CLASS // 2
    examples = pq.read_table(audited.out / "examples.parquet").to_pydict()
    assert len(examples["path"]) == world["splits"].count("test")
    row = examples["path"].index(boot["hard_examples"][0])
    assert examples["decision_value"][row] == pytest.approx(audited.decisions[int(boot["hard_examples"][0])])
    assert examples["decision_value"][row] == min(
        v for v, c in zip(examples["decision_value"], examples["class"], strict=True) if c == "boot"
    )
    captions = pq.read_table(audited.out / "captions.parquet").to_pydict()
    assert set(captions["class"]) == {"boot"}
    assert set(captions["direction"]) == {0}
    assert not set(examples) & {"mode", "decision_value_1"}
    assert len(boot["modes"]) == 1
    assert (document["n_permutations"], document["most_permutations"], document["p_value_min"]) == (200, 200, 1 / 201)
    assert boot["n_permutations"] == 200
    assert 0 < document["timings"]["test directions"] < 60
    assert min(captions["score"]) == pytest.approx(boot["hard_captions"][0]["score"])
    assert (audited.out / "report.html").read_text() == audited.page


def test_the_stored_directions_give_the_same_decisions(audited, world: dict, clip: ClipEmbedder) -> None:
    fit = FailureDirections.load(audited.out / "directions.safetensors")
    ids = np.array([sorted(CLASSES).index(c) for c in world["labels"]])
    values = fit.decision_function(clip.images(world["pictures"]), ids)
    assert np.allclose(values, audited.decisions, equal_nan=True, atol=1e-6)


def test_the_caption_score_is_the_estimators(audited, clip: ClipEmbedder) -> None:
    texts = clip.texts(["a photo of a red boot", "a photo of a boot"])
    boot = sorted(CLASSES).index("boot")
    (table,) = audited.captions.by_class[boot]
    score = audited.directions.score_captions(texts[:1], texts[1], boot)
    assert float(score[0]) == pytest.approx(table.scores[table.texts.index("a photo of a red boot")], abs=1e-6)
    assert np.isnan(table.scores[table.texts.index("a photo of a boot")])  # the reference has no direction


def test_an_audit_as_the_published_code_scores_captions(world: dict, clip: ClipEmbedder, tmp_path: Path) -> None:
    """Its formula is the estimator's, for candidates as for grown captions, and gives the reference a score."""
    own = FailureDirections(published=True, n_resamples=4)
    result = fdgpu.audit(
        world["pictures"], world["labels"], world["predictions"], splits=world["splits"], embedder=clip, out=tmp_path,
        grammar="demo", directions=own,
    )  # fmt: skip
    document = json.loads((tmp_path / "audit.json").read_text())
    assert document["published"] is True
    boot = result.findings.classes[1]
    assert (boot.name, boot.status) == ("boot", "ok")
    (mode,) = result.captions.by_class[1]
    reference = clip.texts(["a photo of a boot"])[0]
    expected = own.score_captions(clip.texts(mode.texts).numpy(), reference, 1)
    assert np.isfinite(mode.scores).all()
    assert mode.scores == pytest.approx(expected, abs=1e-5)
    assert boot.hard_captions[0].score == pytest.approx(expected.min(), abs=1e-5)
    grown = fdgpu.grow_captions(own, clip, 1, CaptionGrammar("a photo of a {noun}", noun=["boot", "red boot"]))
    length = np.linalg.norm(own.coef_[1, 0])
    both = own.score_captions(clip.texts([one.caption for one in grown.captions]).numpy(), reference, 1)
    assert [one.alignment for one in grown.captions] == pytest.approx((both - own.intercept_[1, 0]) / length, abs=1e-5)
    assert len(grown.captions) == 2


def test_the_word_that_was_planted_has_the_largest_effect(audited) -> None:
    boot = next(c for c in json.loads((audited.out / "audit.json").read_text())["classes"] if c["name"] == "boot")
    (mode,) = boot["modes"]
    hardest = min(mode["word_effects"], key=lambda effect: effect["effect"])
    assert (hardest["slot"], hardest["word"]) == ("preposition", "on a white background")
    assert (hardest["against"], hardest["n"]) == ("mean", 13)
    assert hardest["effect"] + hardest["half_width"] < 0
    sizes = [abs(effect["effect"]) for effect in mode["word_effects"]]
    assert sizes == sorted(sizes, reverse=True)
    assert 0.5 < mode["explained_by_words"] < 1
    assert f"explain {mode['explained_by_words']:.0%} of how" in audited.page
    table = pq.read_table(audited.out / "effects.parquet").to_pydict()
    assert len(table["word"]) == 12 + 4
    assert set(table["class"]) == {"boot"}
    row = table["word"].index("on a white background")
    assert (table["effect"][row], table["half_width"][row]) == (hardest["effect"], hardest["half_width"])


def test_a_tested_audit_of_two_modes(world: dict, clip: ClipEmbedder, tmp_path: Path) -> None:
    fit = FailureDirections(n_directions=2, n_permutations=39, nested=True, random_state=0)
    result = fdgpu.audit(
        world["pictures"], world["labels"], world["predictions"], embedder=clip, grammar="demo", directions=fit,
        out=tmp_path,
    )  # fmt: skip
    document = json.loads((tmp_path / "audit.json").read_text())
    assert (document["n_permutations"], document["n_directions"], document["p_value_min"]) == (39, 2, 1 / 40)
    by_name = {entry["name"]: entry for entry in document["classes"]}
    boot = by_name["boot"]
    assert boot["significant"]
    assert boot["p_value"] == pytest.approx(1 / 40)
    assert boot["nested_score"] > 0.7
    assert boot["solver"] == "gram"
    assert len(boot["modes"]) == fit.n_directions_[sorted(CLASSES).index("boot")]
    assert boot["modes"][0]["hard_captions"] == boot["hard_captions"]
    assert (by_name["bag"]["modes"], by_name["bag"]["nested_score"], by_name["bag"]["solver"]) == ([], None, "")
    assert "Distinguishable from chance at a false discovery rate of 5%: p 0.025" in result.page
    assert result.findings.classes[result.findings.ranking()[0]].name == "boot"
    examples = pq.read_table(tmp_path / "examples.parquet").to_pydict()
    assert {"mode", "decision_value", "decision_value_1"} <= set(examples)
    assert result.mode_decisions.shape == (len(world["labels"]), 2)
    assert set(pq.read_table(tmp_path / "captions.parquet").to_pydict()["direction"]) == set(range(len(boot["modes"])))


def test_nothing_is_written_without_a_folder_and_everything_is_fitted_on_val(world: dict, clip: ClipEmbedder) -> None:
    result = fdgpu.audit(world["pictures"], world["labels"], world["predictions"], embedder=clip)
    assert result.out is None
    assert result.findings.shown_from == "val"
    assert any("look better than they are" in note for note in result.findings.notes)


def test_what_is_uncertain_of_the_embedder_is_said_and_noted(world: dict) -> None:
    embedder = ClipEmbedder.bundled("cpu")
    embedder.doubts = ("Its activation is not known.",)
    with pytest.warns(FdgpuWarning, match="Its activation is not known"):
        result = fdgpu.audit(world["pictures"], world["labels"], world["predictions"], embedder=embedder)
    assert result.findings.notes[0] == "Its activation is not known."
    assert "Its activation is not known." in result.page


def test_training_images_whiten(world: dict, clip: ClipEmbedder) -> None:
    splits = ["train" if i % 4 == 3 else split for i, split in enumerate(world["splits"])]
    result = fdgpu.audit(world["pictures"], world["labels"], world["predictions"], splits=splits, embedder=clip)
    assert result.findings.whitened_by == "train"
    train = clip.images(world["pictures"])[[s == "train" for s in splits]].numpy().astype(np.float64)
    assert np.allclose(result.directions.whitening_.mean, train.mean(0), atol=1e-6)


def test_bad_images_are_skipped_counted_and_listed(world: dict, clip: ClipEmbedder, tmp_path: Path) -> None:
    paths = []
    for i, picture in enumerate(world["pictures"]):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(paths[-1])
    paths[5].write_bytes(paths[5].read_bytes()[:100])
    paths[6].write_text("<script>alert(1)</script>")
    paths[7].unlink()
    names = [f"<script>{p.name}" for p in paths]
    result = fdgpu.audit(
        FileSource(paths, names), world["labels"], world["predictions"], splits=world["splits"], embedder=clip,
        out=tmp_path / "out",
    )  # fmt: skip
    skipped = json.loads((tmp_path / "out" / "audit.json").read_text())["skipped"]
    assert [entry["path"] for entry in skipped] == [names[5], names[6], names[7]]
    assert np.isnan(result.decisions[5:8]).all()
    assert "<script>6.png" not in result.page
    assert "&lt;script&gt;6.png" in result.page
    boot = next(c for c in result.findings.classes if c.name == "boot")
    assert boot.n == PER_CLASS // 2 - 1  # row 5 was val


def test_a_hostile_class_name_and_a_class_missing_from_validation(world: dict, clip: ClipEmbedder) -> None:
    evil = "<script>alert(1)</script>"
    labels = [evil if c == "boot" else c for c in world["labels"]]
    predicted = [evil if c == "boot" else c for c in world["predictions"]]
    result = fdgpu.audit(
        world["pictures"],
        labels,
        predicted,
        class_names=["absent", evil, "bag", "coat"],
        embedder=clip,
        grammar="general",
    )
    assert evil not in result.page
    assert result.findings.classes[0].status == "no_samples"
    assert result.findings.classes[1].status == "ok"
    assert any("exceed the model's context" in note for note in result.findings.notes)


def test_a_grammar_of_ones_own_for_every_class(world: dict, clip: ClipEmbedder) -> None:
    backgrounds = ["on a white background", "on a black background", None]
    grammars = {name: CaptionGrammar("{noun} {background}", noun=[name], background=backgrounds) for name in CLASSES}
    result = fdgpu.audit(world["pictures"], world["labels"], world["predictions"], embedder=clip, grammar=grammars)
    boot = next(c for c in result.findings.classes if c.name == "boot")
    assert boot.hard_captions[0].caption == "boot on a white background"


def test_two_classes_of_a_name_are_audited_as_two(world: dict, clip: ClipEmbedder, tmp_path: Path) -> None:
    """ImageNet has two cranes and two maillots; the boots and the coats stand in for them."""
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        """
template = "a photo of a {noun} {background}"
[slots]
background = ["", "on a white background", "on a black background"]
[[classes]]
name = "crane"
also = ["n02012849"]
noun = "boot"
[[classes]]
name = "crane"
also = ["n03126707"]
noun = "coat"
"""
    )
    ids = {name: k for k, name in enumerate(CLASSES)}
    labels, predicted = ([ids[name] for name in world[column]] for column in ("labels", "predictions"))
    result = fdgpu.audit(
        world["pictures"], labels, predicted, class_names=["crane", "bag", "crane"], embedder=clip, grammar=str(recipe),
        out=tmp_path / "out",
    )  # fmt: skip
    assert [entry.name for entry in result.findings.classes] == ["crane (0)", "bag", "crane (2)"]
    assert result.findings.classes[0].hard_captions[0].caption == "a photo of a boot on a white background"
    table = pq.read_table(tmp_path / "out" / "captions.parquet").to_pydict()
    nouns = {"crane (0)": "boot", "bag": "bag", "crane (2)": "coat"}
    assert all(nouns[name] in text for name, text in zip(table["class"], table["caption"], strict=True))
    with pytest.warns(FdgpuWarning, match="bundled CLIP, which knows ten garments.*Name an open_clip model"):
        alone = fdgpu.audit(
            world["pictures"], labels, predicted, class_names=["crane", "bag", "coat"], grammar=str(recipe)
        )
    assert "ten garments" in alone.findings.notes[0]
    assert "ten garments" in alone.page
    assert any("several classes named crane" in note for note in alone.findings.notes)
    assert "a photo of a crane" in alone.findings.classes[0].hard_captions[0].caption


def test_inputs_that_cannot_work(world: dict, clip: ClipEmbedder, tmp_path: Path) -> None:
    pictures, labels, predicted = world["pictures"], world["labels"], world["predictions"]
    with pytest.raises(InputError, match="images has 119 entries, labels has 120"):
        fdgpu.audit(pictures[1:], labels, predicted, embedder=clip)
    with pytest.raises(InputError, match="images gave 119 pictures, labels has 120"):
        fdgpu.audit((p for p in pictures[1:]), labels, predicted, embedder=clip)
    with pytest.raises(InputError, match="no recipe 'nope'"):
        fdgpu.audit(pictures, labels, predicted, embedder=clip, grammar="nope")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        fdgpu.audit(pictures, labels, predicted, embedder=clip, out=tmp_path / "file")
    missing = FileSource([tmp_path / str(i) for i in range(120)], [str(i) for i in range(120)])
    with pytest.raises(
        InputError, match=r"no image of the split 'val' can be used: 120 × does not exist \(such as 0\)"
    ):
        fdgpu.audit(missing, labels, predicted, embedder=clip)


def test_an_interrupted_write_leaves_no_half_file(audited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fdgpu.files import write_atomically

    shutil.copy(audited.out / "audit.json", tmp_path / "audit.json")
    before = (tmp_path / "audit.json").read_text()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="No space left"):
        write_atomically(tmp_path / "audit.json", "half")
    assert (tmp_path / "audit.json").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["audit.json"]


def test_pictures_of_the_page_come_from_the_source(world: dict) -> None:
    (shown,) = TensorSource(world["pictures"]).pictures([3], 96)
    assert torch.equal(torch.from_numpy(shown).movedim(-1, 0), world["pictures"][3])
