import numpy as np
import pytest

from mammorisk.errors import UserError
from mammorisk.preparation.raw_csv import read_raw_csv


def table(tmp_path, text, encoding="utf-8", **settings):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(encoding))
    return read_raw_csv(path, "raw.csv", **{"required": ("id", "side"), **settings})


def test_values_stay_the_text_they_were_without_blanks(tmp_path):
    found = table(tmp_path, '\ufeffid,x,side\n0012,1, L \n9100000000015839,2,NaN\n"0012",3,"a,\n""b"""\n')
    assert found.rows == 3
    assert found["id"].words.tolist() == ["0012", "9100000000015839"]
    assert found["id"].codes.tolist() == [0, 1, 0]
    assert [found["side"].words[code] for code in found["side"].codes] == ["L", "", 'a,\n"b"']
    assert "x" not in found.columns


def test_words_that_differ_by_blanks_are_one(tmp_path):
    found = table(tmp_path, "id,side\n1,L\n2,L \n3,n/a\n4,\n")
    assert found["side"].words.tolist() == ["L", ""]
    assert found["side"].codes.tolist() == [0, 0, 1, 1]
    assert found["side"].rows_of(np.array([False, True])).tolist() == [4, 5]
    assert found["side"].where == f"column 'side' of {tmp_path / 't.csv'}"


def test_optional_columns_and_texts(tmp_path):
    found = table(
        tmp_path, "id,side,p\n1,L, a/1 \n2,R,b/2\n3,R,\n", required=("id", "p"), optional=("side", "no"), texts=("p",)
    )
    assert set(found.columns) == {"id", "side"}
    assert found.texts["p"].take(np.array([2, 0])).tolist() == ["", "a/1"]


def test_many_blocks_join(tmp_path):
    rows = 200_000  # some MB: more than one block of the reader
    text = "id,side\n" + "".join(f"patient number {n % 70_000},{'LR'[n % 2]}\n" for n in range(rows))
    found = table(tmp_path, text)
    assert found.rows == rows
    assert len(found["id"].words) == 70_000
    numbers = np.array([int(word.split()[-1]) for word in found["id"].words])
    assert (numbers[found["id"].codes] == np.arange(rows) % 70_000).all()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,sied\n1,L\n", "lacks columns:\n  'side' Did you mean 'sied'"),
        ("id,side,side\n1,L,R\n", "has the column 'side' twice"),
        ("id,side\n", "holds no rows"),
        ("", "lacks columns"),
        ("id,side\n1,L,3\n", "cannot be read"),
        ("id,side\n1\n", "cannot be read"),
        ('id,side\n1,"L\n2,R\n3,R\n', "never closed"),
        ('id,side,note\n1,L,"a\n2,R,b\n', "never closed"),
        ('id,side\n"1,L\n2,R\n', "cannot be read"),
    ],
)
def test_what_is_no_table_is_told(tmp_path, text, told):
    with pytest.raises(UserError, match=told):
        table(tmp_path, text)


def test_what_is_no_text_is_told(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        table(tmp_path, "id,side\n1,Ä\n", encoding="latin-1")
    with pytest.raises(UserError, match=r"raw\.csv: there is no file"):
        read_raw_csv(tmp_path / "gone.csv", "raw.csv", ("id",))
    with pytest.raises(UserError, match="cannot be read"):
        read_raw_csv(tmp_path, "raw.csv", ("id",))
