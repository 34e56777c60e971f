from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from mammorisk.training.seeding import random_state, restore_random_state, seed_everything


@pytest.fixture(autouse=True)
def _leave_as_found():
    state, flags = random_state(), (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark)
    yield
    restore_random_state(state)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = flags


def draw(n: int = 700) -> list[float]:
    """Numbers of every generator, more than a Mersenne twister holds; an odd count of normals leaves one cached."""
    numbers = [random.random() for _ in range(n)] + [random.gauss(0, 1) for _ in range(3)]
    numbers += np.random.random(n).tolist() + np.random.standard_normal(3).tolist()  # noqa: NPY002
    numbers += torch.rand(n).tolist() + torch.randn(3).tolist()
    if torch.cuda.is_available():
        numbers += torch.rand(3, device="cuda").tolist()
    return numbers


def test_one_seed_gives_one_sequence():
    seed_everything(7)
    first = draw()
    seed_everything(7)
    assert draw() == first
    seed_everything(8)
    assert draw() != first


@pytest.mark.parametrize("part", ["python", "numpy", "torch"])
def test_every_generator_is_seeded(part):
    one = {"python": random.random, "numpy": np.random.random, "torch": lambda: torch.rand(1).item()}[part]
    seed_everything(1)
    first = one()
    one()
    seed_everything(1)
    assert one() == first


def test_seeds_beyond_32_bits_are_taken():
    seed_everything(2**40 + 3)
    first = draw(5)
    seed_everything(2**40 + 3)
    assert draw(5) == first


@pytest.mark.parametrize("deterministic", [True, False])
def test_cudnn_is_deterministic_or_fast(deterministic):
    seed_everything(1, deterministic)
    assert torch.backends.cudnn.deterministic is deterministic
    assert torch.backends.cudnn.benchmark is not deterministic


def test_the_state_goes_on_where_it_was():
    seed_everything(3)
    draw(13)
    state = random_state()
    expected = draw()
    draw(5)
    restore_random_state(state)
    assert draw() == expected


def test_taking_the_state_draws_nothing_and_is_a_copy():
    seed_everything(3)
    expected = draw()
    seed_everything(3)
    state = random_state()
    assert draw() == expected
    restore_random_state(state)
    assert draw() == expected


def test_pitfall_10_the_state_is_read_with_weights_only(tmp_path: Path):
    seed_everything(5)
    draw(11)
    torch.save({"random": [random_state()]}, tmp_path / "state.pth")
    expected = draw()
    restore_random_state(torch.load(tmp_path / "state.pth", weights_only=True)["random"][0])
    assert draw() == expected


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has them")
def test_states_of_gpus_this_machine_lacks_are_left_out():
    seed_everything(5)
    state = {**random_state(), "cuda": [torch.zeros(16, dtype=torch.uint8)]}
    expected = draw()
    restore_random_state(state)
    assert draw() == expected
