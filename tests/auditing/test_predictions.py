from __future__ import annotations

import pytest

from fdgpu.auditing import read_predictions
from fdgpu.errors import InputError

HEADER = "path,label,prediction,split\n"


def written(tmp_path, text: str, encoding: str = "utf-8"):
    path = tmp_path / "predictions.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_a_good_file(tmp_path) -> None:
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
        ("path,label,prediction,prediction,split\na,x,x,y,val\n", "line 1: the column 'prediction' stands twice"),
        (HEADER + "a,x,x,val\nb,x,x\n", "line 3: 3 fields, the header has 4"),
        (HEADER + "a,x,x,val\nb,x,x,valid\n", "line 3: split is 'valid'"),
        (HEADER + "a,,x,val\n", "line 2: label is empty"),
        (HEADER + "a,x,x,val\nb,x,x,val\na,x,x,val\n", "line 4: 'a' stands already in line 2"),
        ("path,label,prediction,split,confidence\na,x,x,val,high\n", "line 2: confidence is 'high'"),
        ("path,label,prediction,split,confidence\na,x,x,val,1.5\n", "line 2: confidence is 1.5"),
        ("path,label,prediction,split,confidence\na,x,x,val,nan\n", "line 2: confidence is nan"),
        (HEADER + 'a,x,x,val\n"b,x,x,val\n', "line 3: "),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_predictions(written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_predictions(tmp_path / "none.csv")
    with pytest.raises(InputError, match="not UTF-8"):
        read_predictions(written(tmp_path, HEADER + "ü,x,x,val\n", "latin-1"))
