"""ChestX-ray14's table and lists are read exactly, and validation is drawn by patient."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.paper.files.chestxray14 import CONDITIONS, chestxray14
from fdgpu.errors import InputError
from tests.benchmarks.paper.files.tiny import write_xrays

TRAIN_VAL = [f"{patient:08d}_{number:03d}.png" for patient in range(1, 21) for number in range(2)]
TEST = ["00000091_000.png", "00000092_000.png"]
FINDINGS = {TRAIN_VAL[0]: "Cardiomegaly|Emphysema", TRAIN_VAL[1]: "Pleural_Thickening", TEST[1]: "Hernia"}


def row(name: str) -> str:
    findings = FINDINGS.get(name, "No Finding")
    view = "AP" if name.endswith("_001.png") else "PA"
    return f"{name},{findings},0,{int(name[:8])},058Y,M,{view},2682,2749,0.143,0.143,"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_xrays(tmp_path, [row(name) for name in TRAIN_VAL + TEST], TRAIN_VAL, TEST)
    return tmp_path


@pytest.mark.parametrize("table", ["Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv"])
def test_conditions_and_views(table: str, folder: Path) -> None:
    (folder / "Data_Entry_2017.csv").rename(folder / table)
    splits = chestxray14(folder, val_share=0)
    train, test = splits["train"], splits["test"]
    assert [path.name for path in train.images] == TRAIN_VAL
    assert train.images[0] == folder / "images_001" / "images" / TRAIN_VAL[0]
    assert train.images[1] == folder / "images_002" / "images" / TRAIN_VAL[1]
    assert train.labels.shape == (40, 14)
    found = [[CONDITIONS[column] for column in labels.nonzero()[:, 0].tolist()] for labels in train.labels[:3]]
    assert found == [["Cardiomegaly", "Emphysema"], ["Pleural_Thickening"], []]
    assert train.labels.sum() == 3
    assert train.kinds[:4].tolist() == [0, 1, 0, 1]
    assert train.minority[:4].tolist() == [False, True, False, True]
    assert test.labels.sum(1).tolist() == [0, 1]
    assert len(splits["val"]) == 0


def test_validation_is_a_tenth_of_the_patients_and_the_seed_says_which(folder: Path) -> None:
    def patients(seed: int, split: str) -> set[str]:
        return {path.name[:8] for path in chestxray14(folder, seed=seed)[split].images}

    splits = chestxray14(folder)
    assert (len(splits["train"]), len(splits["val"]), len(splits["test"])) == (36, 4, 2)
    assert len(patients(0, "val")) == 2
    assert not patients(0, "val") & patients(0, "train")
    assert patients(0, "val") == patients(0, "val")
    assert len({frozenset(patients(seed, "val")) for seed in range(5)}) > 1


@pytest.mark.parametrize("name", ["Data_Entry_2017.csv", "train_val_list.txt", "test_list.txt"])
def test_a_missing_file_is_named_with_the_place_to_get_it(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"{name}.* is missing: get it from https://nihcc\.app\.box\.com"):
        chestxray14(folder)


def test_missing_images_are_counted_and_the_first_is_named_with_its_line(folder: Path) -> None:
    for number in (4, 6):
        (folder / "images_001" / "images" / TRAIN_VAL[number]).unlink()
    message = rf"{TRAIN_VAL[4]} is missing from .*images_002/images, .*train_val_list\.txt, line 5, names it; 2 of 40"
    with pytest.raises(InputError, match=message):
        chestxray14(folder)


def test_no_folder_of_images_at_all(folder: Path) -> None:
    for root in list(folder.glob("images_*")):
        root.rename(folder / f"unpacked_{root.name}")
    with pytest.raises(InputError, match=r"images is missing, and so is images_001/images: get it from"):
        chestxray14(folder)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("Data_Entry_2017.csv", "|Emphysema", "|Emphysemia", r"line 2: expected 'No Finding', .*found 'Emphysemia'"),
        ("Data_Entry_2017.csv", ",M,AP,", ",M,LL,", "line 3: expected view position AP or PA, found 'LL'"),
        ("Data_Entry_2017.csv", ",No Finding,0,2,058Y,M,PA,2682,2749,0.143,0.143,", "", "line 4: expected 12 columns"),
        ("Data_Entry_2017.csv", "Patient ID", "Patient", "line 1: expected a column 'Patient ID'"),
        ("train_val_list.txt", TRAIN_VAL[2], "00000077_000.png", "line 3: expected an image that the table has"),
        ("test_list.txt", TEST[1], TRAIN_VAL[0], r"line 2: expected an image that train_val_list\.txt does not name"),
    ],
)
def test_a_malformed_row_is_named_with_its_line(name: str, old: str, new: str, message: str, folder: Path) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=rf"{name}, {message}"):
        chestxray14(folder)
