import pandas as pd
import pytest

from mammorisk.datasets.attrition import Attrition
from mammorisk.errors import UserError
from mammorisk.preparation.outcomes import (
    VIEW_CODES,
    keep_views,
    settle_after_diagnosis,
    settle_duplicates,
    years_between,
)


@pytest.mark.parametrize(
    ("rule", "end", "cancer", "followup"),
    [
        ("within", "2015-03-01", 0, 0),
        ("within", "2015-03-02", 1, 0),
        ("within", "2016-02-28", 1, 0),
        ("within", "2016-06-01", 2, 1),
        ("within", "2020-02-01", 5, 4),
        ("completed", "2016-02-28", 0, 0),
        ("completed", "2016-06-01", 1, 1),
        ("calendar", "2016-01-01", 1, 1),
        ("calendar", "2015-12-31", 0, 0),
    ],
)
def test_years_by_each_rule(rule, end, cancer, followup):
    start, until = pd.Series(pd.to_datetime(["2015-03-01"] * 2)), pd.Series(pd.to_datetime([end, None]))
    assert years_between(start, until, rule, until_event=True).tolist()[0] == cancer
    assert years_between(start, until, rule, until_event=False).tolist()[0] == followup
    assert years_between(start, until, rule, until_event=True).isna().tolist() == [False, True]


def images():
    """A woman with cancer of the left breast in year 3, three exams of both breasts; and one without."""
    rows = [("a", time, side) for time in (2.0, 3.0, 4.0) for side in (0, 1)] + [("b", 9.0, 0)]
    table = pd.DataFrame(rows, columns=["patient_id", "time", "side"])
    is_a = table["patient_id"] == "a"
    return table.assign(
        exam_id=table["time"],
        first_diagnosis=pd.Series(3.0, index=table.index).where(is_a),
        diagnosis=pd.Series(3.0, index=table.index).where(is_a & (table["side"] == 0)),
    )


def test_exams_after_the_diagnosis_by_each_rule():
    attrition = Attrition()
    left = settle_after_diagnosis(images(), "drop", attrition)
    assert left["time"].tolist() == [2, 2, 3, 3, 9]
    assert attrition.steps[0].counts.images == 2
    left = settle_after_diagnosis(images(), "keep_other_breast", Attrition())
    assert [(time, side) for time, side in zip(left["time"], left["side"], strict=True) if time == 4] == [(4, 1)]
    with pytest.raises(UserError, match=r"2 images of 1 women were taken after the diagnosis \(CSV rows 6, 7\)"):
        settle_after_diagnosis(images(), "error", Attrition())


def test_the_newest_or_the_oldest_image_of_a_view_stays():
    table = images().assign(view=0, order=[1.0, 5, None, 7, 2, 6, 1])
    for rule, kept in (("newest", [4, 5, 6]), ("oldest", [2, 1, 6])):
        left = settle_duplicates(table, ["patient_id", "side"], rule, "another image", Attrition())
        assert sorted(left.index) == sorted(kept if rule == "oldest" else [4, 3, 6])
    alone = table.drop_duplicates(["patient_id", "side"])
    assert settle_duplicates(alone, ["patient_id", "side"], "newest", "another image", Attrition()) is alone


def test_ml_is_not_mlo():
    table = images().assign(view=[VIEW_CODES[word] for word in ("CC", "MLO", "ML", "LM", "", "XCCL", "CC")])
    table.loc[6, "side"] = -1
    attrition = Attrition()
    assert keep_views(table, "s", "v", attrition).index.tolist() == [0, 1]
    assert {step.reason: step.counts.images for step in attrition.steps} == {
        "s does not tell one side": 1,
        "v is missing": 1,
        "another view than CC or MLO (ML is not MLO)": 3,
    }
