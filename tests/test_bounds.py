from mammorisk.bounds import out_of_bounds


def test_a_number_out_of_bounds_is_named_by_its_key():
    assert list(out_of_bounds({"dataset": {"batch_size": 12}})) == []
    assert "dataset.batch_size=1000000000" in next(out_of_bounds({"dataset": {"batch_size": 10**9}}))
