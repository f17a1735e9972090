"""The reader of predictions: what it takes, what it says of a mistake, and that its two ways of reading are one."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fdgpu.auditing.columns import predictions as reader
from fdgpu.auditing.columns.predictions import read_predictions
from fdgpu.auditing.columns.tables import REQUIRED, Predictions
from fdgpu.errors import FdgpuError, InputError

HEADER = "path,label,prediction,split\n"


def written(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "predictions.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_a_good_file_of_predictions(tmp_path: Path) -> None:
    text = 'split,path,label,prediction,extra,confidence\nval,a.png,cat,dog,x,0.5\n\ntest,"b,""c.png", cat ,cat,y,1\n'
    table = read_predictions(written(tmp_path, text, "utf-8-sig"))
    assert table.paths == ["a.png", 'b,"c.png']
    assert table.labels == ["cat", "cat"]
    assert table.predictions == ["dog", "cat"]
    assert table.splits == ["val", "test"]
    assert table.confidence == [0.5, 1.0]
    assert read_predictions(written(tmp_path, HEADER + "a,b,c,val\n")).confidence is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (HEADER, "a header and no rows"),
        ("path,label,split\n", "line 1: the column 'prediction' is missing"),
        ("path,label,prediction,prediction,split\na,x,x,y,val\n", "line 1: the column 'prediction' occurs twice"),
        (HEADER + "a,x,x,val\nb,x,x\n", "line 3: 3 fields, the header has 4"),
        (HEADER + "a,x,x,val\nb,x,x,valid\n", "line 3: split is 'valid'"),
        (HEADER + "a,,x,val\n", "line 2: label is empty"),
        (HEADER + "a,x,x,val\nb,x,x,val\na,x,x,val\n", "line 4: 'a' is already in line 2"),
        ("path,label,prediction,split,confidence\na,x,x,val,high\n", "line 2: confidence is 'high'"),
        ("path,label,prediction,split,confidence\na,x,x,val,1.5\n", "line 2: confidence is 1.5"),
        ("path,label,prediction,split,confidence\na,x,x,val,nan\n", "line 2: confidence is nan"),
        (HEADER + 'a,x,x,val\n"b,x,x,val\n', "line 3: "),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_predictions(written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_predictions(tmp_path / "none.csv")
    with pytest.raises(InputError, match="not UTF-8"):
        read_predictions(written(tmp_path, HEADER + "ü,x,x,val\n", "latin-1"))


ROWS = "a.png,cat,dog,val,0.5\nb/c.png,cat,cat,test,1\n"
FULL = "path,label,prediction,split,confidence\n"


def lists(table: Predictions) -> tuple:
    return table.paths, table.labels, table.predictions, table.splits, table.confidence, table.groups


PLAIN = (["a.png", "b/c.png"], ["cat", "cat"], ["dog", "cat"], ["val", "test"], [0.5, 1.0], None)


@pytest.mark.parametrize(
    "text",
    [
        FULL + ROWS,
        (FULL + ROWS).replace(",", ";"),
        (FULL + ROWS).replace(",", ";").replace("0.5", "0,5"),
        (FULL + ROWS).replace(",", "\t"),
        (FULL + ROWS).replace("\n", "\r\n"),
        (FULL + ROWS).replace("\n", "\r"),
        "\n\n" + FULL + "\n" + ROWS,
        "Path, Label ,PREDICTION,Split,Confidence\n" + ROWS,
        "filename,True label,y-pred,subset,confidence\n" + ROWS,
        (FULL + ROWS).replace("val", "Validation").replace("test", "TESTING"),
        "path,label,prediction,split,confidence,Path,target\n" + ROWS.replace("\n", ",x,y\n"),
        '"path","label","prediction","split","confidence"\n' + ROWS.replace("a.png", '"a.png"').replace("cat", '"cat"'),
        FULL + ROWS.replace("cat", " cat\t").replace("dog", "\u00a0dog"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_dialects_are_read(tmp_path: Path, text: str, encoding: str) -> None:
    assert lists(read_predictions(written(tmp_path, text, encoding))) == PLAIN


def test_a_group_is_read_and_an_empty_one_is_none(tmp_path: Path) -> None:
    text = "path,label,prediction,split,Group\na,x,x,val,g1\nb,x,x,val, \nc,x,x,val,g1\n"
    assert read_predictions(written(tmp_path, text)).groups == ["g1", None, "g1"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (FULL.encode() + b"a,x,x,val,1\nb,\0,x,val,1\n", "line 3 holds a null byte"),
        (FULL.encode() + b"a,x,x,val,1\nb,\xff,x,val,1\n", "line 3 is not UTF-8"),
        (FULL.encode() + b"a,x,x,val,1\nb,x,x,val,1\xc3", "line 3 is not UTF-8"),
        ((FULL + "a,x,x,val,1\nb,").encode("utf-16") + b"\x00\xd8" + ",x".encode("utf-16-le"), "line 3 is not UTF-16"),
        ((FULL + "a,x,x,val,1\n").encode("utf-16-le"), "line 1 holds a null byte"),
        (FULL.encode() + b'a,"x"y,x,val,1\n', "line 2: ',' expected after"),
        (FULL.encode() + b'a,x,x,val,1\n"a\nb",x"y,x,val,1\n\nc,x,x,val,2\n', "line 6: confidence is 2"),
        ((FULL + "a,x,x,val,1\n").replace(",", ";").replace("1", "0,9x").encode(), "line 2: confidence is '0,9x'"),
        ((FULL + f"a,x,{'9' * 5000},val,1\n").encode(), "line 2: prediction has 5000 characters, at most 1000"),
        ((FULL + f"a,{'x' * 100_000},x,val,1\n").encode(), "line 2: label has 100000 characters, at most 1000"),
        ((FULL + f"a,{'x' * 200_000},x,val,1\n").encode(), "line 2: field larger than field limit"),
        ((FULL + "a,x,x,val,1\n./b//a/../../a,x,x,val,1\n").encode(), r"line 3: './b//a/../../a' is already in line 2"),
        (FULL.encode() + b"a,x,x,val,1\na,x,x,val,1\nb,x,x,val,x\n", "line 3: 'a' is already in line 2"),
        (FULL.encode() + b"a,x,x,val,1\nb,x,x,walk,1\na,x\n", "line 3: split is 'walk', use one of train, val, test"),
        (b"path,filename,target,true_label,prediction,split\n", "line 1: the column 'label' occurs twice"),
        (
            b"image,label,prediction,split\n",
            "'path' is missing, the header is 'image,label.*: call it one of path, file",
        ),
    ],
)
def test_an_attack_is_named_with_its_line(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "predictions.csv").write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_predictions(tmp_path / "predictions.csv")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(InputError, match="no regular file: pass a CSV or Parquet file"):
            read_predictions(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_predictions("a\0b")


def test_a_large_table_is_read_in_pieces(tmp_path: Path) -> None:
    n = 60_000
    rows = [(f"{i}.png", f"class {i % 7}", f"class {i % 5}", ("val", "test")[i % 2], str(i / n)) for i in range(n)]
    text = FULL + "".join(",".join(row) + "\n" for row in rows)
    assert len(text) > 2 * reader.BLOCK
    table = read_predictions(written(tmp_path, text))
    assert list(zip(*lists(table)[:4], map(str, table.confidence or []), strict=True)) == rows
    with pytest.raises(InputError, match=f"line {n + 2}: '7.png' is already in line 9"):
        read_predictions(written(tmp_path, text + "7.png,a,a,val,1\n"))


def independent(data: bytes) -> tuple | None:
    """What the csv module reads row by row; None for what has to be refused."""
    synonyms = {"validation": "val", "training": "train", "testing": "test"}
    try:
        text = data.decode("utf-8-sig")
        if "\0" in text:
            return None
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        head = [cell.strip() for cell in rows[0]]
        if head != ["path", "label", "prediction", "split", "confidence", "group"]:
            return None
        rows = [[cell.strip() for cell in row] for row in rows[1:]]
        paths, labels, guesses, splits, sure, groups = map(list, zip(*rows, strict=True))
        splits = [synonyms.get(split.casefold(), split.casefold()) for split in splits]
        sure = [float(cell) for cell in sure]
    except (UnicodeDecodeError, csv.Error, ValueError, IndexError):
        return None
    fine = all(paths) and all(labels) and all(guesses) and len(set(map(os.path.normpath, paths))) == len(paths)
    if not fine or not set(splits) <= {"train", "val", "test"} or not all(0 <= one <= 1 for one in sure):
        return None
    return paths, labels, guesses, splits, sure, [group or None for group in groups]


WHOLE = (
    b'path,label,prediction,split,confidence,group\na.png,cat,"dog",val,0.5,g\n'
    b'\xc3\xa9/b.png, cat ,cat,test,1,\n"c,""\nd.png",3,3.0,train,0,g\ne,cat,dog,Validation,1e-1,h\n'
)
BITS = [b",", b'"', b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xc3\xa9", b" ", b"\xc2\xa0", b"\x85", b";", b"\t", b"./",
        b"1", b"0.5", b"_", b"nan", b"1e-3", b"val", b"test", b"a.png", b'""', b'","', b"\xef\xbb\xbf"]  # fmt: skip
EDIT = st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 4), st.sampled_from(BITS) | st.binary(max_size=2))


@settings(max_examples=700, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(EDIT, max_size=4))
@example(edits=[])
@example(edits=[(51, 0, b'"'), (54, 0, b'"')])
def test_whatever_the_bytes_what_is_accepted_is_what_the_csv_module_reads(tmp_path: Path, edits: list) -> None:
    data = WHOLE
    for at, gone, put in edits:
        data = data[:at] + put + data[at + gone :]
    (tmp_path / "predictions.csv").write_bytes(data)
    expected = independent(data)
    try:
        found = lists(read_predictions(tmp_path / "predictions.csv"))
    except FdgpuError:
        found = None
    if expected is not None or found is None:
        assert found == expected
    else:  # another header, or another delimiter, of which the oracle knows nothing
        assert b"\n" in data
        assert data.split(b"\n")[0].strip(b"\r\xef\xbb\xbf") != WHOLE.split(b"\n")[0]


CELL = st.text(st.sampled_from('ab,;"\n\r \u00a0\u0085é._1'), max_size=4)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), max_size=5), style=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
)
def test_both_ways_of_reading_are_one(rows: list, style: int) -> None:
    """What pyarrow accepts, the csv module reads the same."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, quoting=style, lineterminator="\n")
    writer.writerows([["path", "label", "prediction", "split"], *[[*row, "val"] for row in rows]])
    data = io.BytesIO(stream.getvalue().encode())
    has_quotes, start = reader._scan(data, Path("x"))
    layout = reader._layout(data, start, Path("x"), None, REQUIRED)
    fast = reader._parsed_by_arrow(data, start, layout, has_quotes)
    try:
        exact = reader._parsed_exactly(data, start, layout, Path("x"))
    except InputError:
        assert fast is None
    else:
        assert fast is None or all(fast[name].to_pylist() == exact[name].to_pylist() for name in exact)
        plain = all(not set(cell) & set('"\n\r') for row in rows for cell in row)
        assert fast is not None or not plain
