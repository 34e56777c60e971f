from __future__ import annotations

import pytest
import torch
from helpers.reference_blocks import assert_parity, outputs, wave

from mammorisk.models.time_encoding import TimeEncoding, sinusoid_table


@pytest.mark.parametrize(("times", "result"), [("times", "out"), ("int_times", "out_int_times")])
def test_parity_with_continuous_encoding(times, result):
    reference = outputs("e_continuous_pos_encoding")
    features = wave((6, 4, 512), 10).permute(1, 2, 0)  # the reference has [positions, N, C]
    encoding = TimeEncoding(512).eval()
    assert_parity(encoding.table[::8, ::8], reference["pe"])
    assert_parity(encoding(features, reference[times]).permute(2, 0, 1)[:, :, ::4], reference[result])


def test_gaps_are_clamped_to_the_longest():
    encoding = TimeEncoding(8, max_years=3.0, steps=7)
    codes = encoding.encode(torch.tensor([-1.0, 0.0, 3.0, 9.0]))
    assert torch.equal(codes[0], encoding.table[0])
    assert torch.equal(codes[1], encoding.table[0])
    assert torch.equal(codes[2], encoding.table[-1])
    assert torch.equal(codes[3], encoding.table[-1])


def test_between_rows_the_code_is_interpolated():
    encoding = TimeEncoding(8, max_years=3.0, steps=7)  # a row every half year
    halfway = encoding.encode(torch.tensor([0.75]))[0]
    torch.testing.assert_close(halfway, (encoding.table[1] + encoding.table[2]) / 2)


def test_table_starts_with_sine_and_cosine_of_the_time_itself():
    table = sinusoid_table(6, 4.0, 5)
    times = torch.arange(5.0)
    torch.testing.assert_close(table[:, 0], times.sin())
    torch.testing.assert_close(table[:, 1], times.cos())
    torch.testing.assert_close(table[:, 2], (times / 10000 ** (2 / 6)).sin())


@pytest.mark.parametrize("shape", [(2, 8), (2, 8, 4, 3)])
def test_one_code_for_all_positions_of_a_feature(shape):
    encoding, features = TimeEncoding(8).eval(), torch.rand(shape)
    added = encoding(features, torch.tensor([0.5, 4.0])) - features
    torch.testing.assert_close(
        added.flatten(2)[..., 0] if len(shape) > 2 else added, encoding.encode(torch.tensor([0.5, 4.0]))
    )
    torch.testing.assert_close(
        added.amax(tuple(range(2, len(shape)))) if len(shape) > 2 else added,
        added.amin(tuple(range(2, len(shape)))) if len(shape) > 2 else added,
    )


def test_dropout_acts_in_training_only_and_dtype_is_kept():
    encoding, features = TimeEncoding(8, dropout=0.5), torch.ones(4, 8, 5, 5, dtype=torch.bfloat16)
    years = torch.zeros(4)
    assert (encoding.train()(features, years) == 0).any()
    result = encoding.eval()(features, years)
    assert result.dtype == torch.bfloat16
    assert result[:, 1::2].eq(2).all()  # cosine of 0 added


def test_table_is_no_part_of_a_checkpoint():
    assert not TimeEncoding(8).state_dict()


def test_one_gap_per_feature():
    with pytest.raises(ValueError, match=r"expected years \[2\], got \[3\]"):
        TimeEncoding(8)(torch.zeros(2, 8), torch.zeros(3))
