"""Several conditions an image, each a problem of its own (paper, C.3), in pictures of several garments."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import fdgpu
from fdgpu import ClipEmbedder, Decoder, FailureDirections
from fdgpu.auditing import AuditResult, Planted
from fdgpu.auditing.columns.conditions import f1_score
from fdgpu.demo.world import draw_attributes, draw_scene, load_photographs, render, world_settings
from fdgpu.errors import FdgpuWarning
from fdgpu.findings import Status
from tests.auditing.test_outputs import documented
from tests.report.parsing import read

N = 800
CONDITIONS = ("boot", "bag", "trouser")


@pytest.fixture(scope="session")
def garments() -> dict[str, Any]:
    """Pictures of one to three garments; the model misses bags on white, and sees boots in what is red."""
    world, rng = world_settings(), np.random.default_rng(0)
    pixels, kinds = load_photographs("val")
    generator = torch.Generator().manual_seed(0)
    attributes = draw_attributes(N, generator)
    attributes.framing[:] = world.code("framing", "group of")
    scene = draw_scene(attributes, kinds[:N], generator)
    there = rng.random((N, len(CONDITIONS))) < 0.5
    there[~there.any(axis=1), 2] = True
    photographs = [np.flatnonzero(kinds == world.class_names.index(name)) for name in CONDITIONS]
    for row, own in enumerate(there):
        chosen = [int(rng.choice(photographs[j])) for j in np.flatnonzero(own)]
        scene.count[row] = len(chosen)
        scene.garments[row, : len(chosen)] = torch.tensor(chosen)
    on_white = attributes.background.numpy() == world.code("background", "white")
    red = attributes.colour.numpy() == world.code("colour", "red")
    logits = np.where(there, 2.0, -2.0) + 0.8 * rng.normal(size=there.shape)
    logits[on_white & there[:, 1], 1] -= 3.6
    logits[red & ~there[:, 0], 0] += 3.6
    splits = np.where(np.arange(N) % 8 < 2, "train", np.where(np.arange(N) % 8 < 5, "val", "test"))
    return {
        "images": render(pixels, scene), "labels": there.astype(int), "predictions": logits,
        "class_names": CONDITIONS, "splits": splits.tolist(), "on_white": on_white, "red": red,
    }  # fmt: skip


def arguments(garments: dict[str, Any]) -> dict[str, Any]:
    return {name: garments[name] for name in ("images", "labels", "predictions", "class_names", "splits")}


@pytest.fixture(scope="session")
def audited(garments: dict[str, Any], clip: ClipEmbedder, tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    out = tmp_path_factory.mktemp("conditions")
    return fdgpu.audit(**arguments(garments), embedder=clip, out=out)


@pytest.fixture(scope="session")
def given(garments: dict[str, Any], clip: ClipEmbedder) -> dict[str, Any]:
    """The same without the pictures: their vectors."""
    without = {name: own for name, own in arguments(garments).items() if name != "images"}
    return without | {"embeddings": clip.images(garments["images"]), "embedder": clip}


def test_the_planted_failures_are_found_and_named(audited: AuditResult) -> None:
    found = {one.name: one for one in audited.findings.classes}
    assert [name for name, one in found.items() if one.significant] == ["no boot", "bag"]
    assert found["no boot"].strongest.hardest_caption == "a photo of a red picture without boot"
    assert found["bag"].strongest.hardest_caption == "a photo of a bag on a white background"
    assert [one.condition for one in found.values()] == [name for name in CONDITIONS for _ in range(2)]
    assert audited.directions.classes_.tolist() == list(range(6))


def test_it_is_one_audit_a_condition(audited: AuditResult, given: dict[str, Any]) -> None:
    """With the other conditions not known, a condition's direction, scores and decision values are the same.

    By the SVM, which knows no score.
    """
    threshold = audited.findings.conditions[1].threshold
    decisions = 1 / (1 + np.exp(-given["predictions"])) >= threshold  # other conditions need no threshold
    only = {"labels": np.where(np.arange(3) == 1, given["labels"], -1), "predictions": decisions}
    whole, own = (fdgpu.audit(**one, directions=FailureDirections()) for one in (given, given | only))
    assert own.directions.classes_.tolist() == [2, 3]
    np.testing.assert_allclose(own.directions.coef_, whole.directions.coef_[2:4], atol=1e-3)
    np.testing.assert_allclose(own.decisions[:, 1], whole.decisions[:, 1], atol=1e-3)
    assert np.isnan(own.decisions[:, [0, 2]]).all()
    one = {
        "labels": given["labels"][:, 1],
        "predictions": decisions[:, 1].astype(int),
        "class_names": ["no bag", "bag"],
    }
    by_class = fdgpu.audit(**given | one, directions=FailureDirections())
    np.testing.assert_array_equal(by_class.directions.coef_, own.directions.coef_)
    np.testing.assert_array_equal(by_class.decisions, own.decisions[:, 1])


def test_the_folder_says_which_condition_a_row_is_of(audited: AuditResult, garments: dict[str, Any]) -> None:
    document = json.loads((audited.out / "audit.json").read_text())
    bag = document["conditions"][1]
    assert (bag["name"], bag["classes"], bag["answers"], bag["split"]) == ("bag", ["no bag", "bag"], "logits", "train")
    train = np.array(garments["splits"]) == "train"
    scores, there = garments["predictions"][train, 1], garments["labels"][train, 1].astype(bool)
    assert bag["f1"] == pytest.approx(max(f1_score(scores >= t, there) for t in scores))
    assert document["classes"][3]["condition"] == "bag"
    table = pq.read_table(audited.out / "examples.parquet").to_pydict()
    test = np.flatnonzero(np.array(garments["splits"]) == "test")
    assert table["path"] == [str(row) for row in test for _ in CONDITIONS]
    assert table["condition"] == list(CONDITIONS) * len(test)
    of_bags = [k for k, name in enumerate(table["condition"]) if name == "bag"]
    assert [table["class"][k] for k in of_bags] == [("no bag", "bag")[y] for y in garments["labels"][test, 1]]
    np.testing.assert_array_equal([table["decision_value"][k] for k in of_bags], audited.decisions[test, 1])
    columns = documented()["examples.parquet"]
    assert table.keys() - columns.keys() == set()


def test_the_page_says_what_a_person_needs(audited: AuditResult) -> None:
    root = read(audited.page)
    (section,) = root.find("section", cls="conditions")
    rows = [[cell.text for cell in row.find("td")] for row in section.find("tr")[1:]]
    assert [row[:2] for row in rows] == [
        [f"{one.threshold:.3f}", f"{one.f1:.2f}"] for one in audited.findings.conditions
    ]
    assert rows[1][4].startswith("no bag CV")
    assert rows[1][5].endswith("significant")
    sections = [one.text for one in root.find("section", cls="class")]
    assert any("no boot" in text and "false alarms in val 30 of 150" in text for text in sections)
    assert any("misses in val 29 of 145" in text for text in sections)
    assert "answers." in root.find("p", cls="lede")[0].text


def test_groups_and_a_condition_without_positives(given: dict[str, Any]) -> None:
    labels = given["labels"].copy()
    labels[:, 2] = 0
    with pytest.warns(FdgpuWarning, match=r"1 of 3 conditions were left out \(trouser\)"):
        result = fdgpu.audit(
            **given | {"labels": labels}, groups=[f"patient {i // 2}" for i in range(N)],
            directions=FailureDirections(n_permutations=60, stop_after=10),
        )  # fmt: skip
    assert [one.status for one in result.findings.classes[4:]] == [Status.NO_THRESHOLD] * 2
    assert "add some, or pass predictions of 0 and 1" in result.findings.classes[4].remedy
    assert [one.name for one in result.findings.classes if one.significant] == ["no boot", "bag"]
    assert result.findings.grouped_by == "given"
    assert result.findings.n_grouped == 200
    assert "no threshold" in result.page


def test_labels_by_path_are_joined_by_name(given: dict[str, Any]) -> None:
    paths = [f"{row}.png" for row in range(N)]
    order = np.random.default_rng(0).permutation(N)
    columns = ("labels", "predictions", "splits", "embeddings")
    by_path = {name: {paths[row]: given[name][row] for row in order} for name in columns}
    settings = {"directions": FailureDirections(Cs=(0.1,)), "groups": "none"}  # which know no order but the folds'
    joined, by_position = (fdgpu.audit(**given | own, **settings) for own in (by_path, {}))
    np.testing.assert_allclose(joined.decisions[np.argsort(order)], by_position.decisions, atol=1e-3)


def test_the_clearest_directions_are_drawn_and_captions_go_on(audited: AuditResult, given: dict[str, Any]) -> None:
    known = given["labels"].copy()  # misses of bags, and nothing else
    known[:, [0, 2]], known[known[:, 1] == 0, 1] = -1, -1
    known[0] = 0  # what is absent is 0
    own = {"labels": known, "predictions": given["predictions"] > 0, "decoder": Decoder.bundled("cpu")}
    drawn = fdgpu.audit(**given | own, directions=FailureDirections(Cs=(0.01, 0.1)))
    assert [one.name for one in drawn.findings.classes if one.decoded] == ["bag"]
    captions = fdgpu.extreme_captions(audited.findings)
    assert captions["no boot"]["reference"] == "a photo of a picture without boot"
    assert captions["bag"]["hard"] == "a photo of a bag on a white background"


def test_what_is_known_of_images_is_compared_class_by_class(garments: dict[str, Any], given: dict[str, Any]) -> None:
    planted = {"bag": Planted("background", "black", "white", "white", garments["on_white"])}
    found = fdgpu.audit(**given, planted=planted, directions=FailureDirections()).findings.classes[3].planted
    test = (np.array(given["splits"]) == "test") & (given["labels"][:, 1] == 1)
    assert found.share_by_chance == pytest.approx(garments["on_white"][test].mean())
    assert found.shares[0].value[0] == 1.0


def test_a_model_answers_the_conditions_that_come_with_the_images(garments: dict[str, Any], clip: ClipEmbedder) -> None:
    own = arguments(garments)
    model = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(192, len(CONDITIONS), bias=False))
    truth = torch.from_numpy(own["labels"] - 0.5).float()
    with torch.no_grad():
        model[2].weight.copy_(torch.linalg.lstsq(model[:2](own["images"] / 255), truth).solution.T)
        scores = model(own["images"] / 255).sigmoid()
    settings = {"class_names": CONDITIONS, "splits": own["splits"], "embedder": clip}
    pairs = list(zip(own["images"], own["labels"], strict=True))
    apart = fdgpu.audit(own["images"], own["labels"], scores, **settings, directions=FailureDirections())
    together = fdgpu.audit(
        pairs, model=model, preprocess=lambda picture: picture / 255, **settings,
        directions=FailureDirections(),
    )  # fmt: skip
    assert [one.name for one in together.findings.conditions] == list(CONDITIONS)
    for mine, yours in zip(together.findings.conditions, apart.findings.conditions, strict=True):
        assert mine.threshold == pytest.approx(yours.threshold, abs=1e-2)
    np.testing.assert_allclose(
        [one.n_errors for one in together.findings.classes], [one.n_errors for one in apart.findings.classes], atol=4
    )
