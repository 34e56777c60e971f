"""Which patients a bootstrap draws: cases and controls apart, each woman with all her rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def drawn_patients(case: ArrayLike, draws: int, seed: int) -> NDArray[np.uint8]:
    """How often each patient is in each sample: as many cases as there are, and as many controls, with replacement.

    Draw r depends on the seed, on r and on who is a case, and on nothing else. Strata: Davison & Hinkley, Bootstrap
    Methods, 1997, section 3.2.

    Args:
        case: [P] true: a patient with an event in any of her rows.
        draws: number of samples.
        seed: of the draws.

    Returns:
        [P, 1 + draws]; the first column is the cohort itself, everybody once. None is drawn more often than 255 times:
        of 256 or more, the chance of it is below 1e-500.

    Raises:
        ValueError: no draws or a negative seed.
    """
    if draws < 1 or seed < 0:
        raise ValueError(f"Expected at least one draw and a seed of 0 or more; found {draws} and {seed}.")
    ill = np.asarray(case, dtype=np.bool_)
    strata = [np.flatnonzero(members) for members in (ill, ~ill)]
    times = np.ones((1 + draws, len(ill)), dtype=np.uint8)
    for draw in range(1, 1 + draws):
        random = np.random.default_rng((seed, draw))
        for members in strata:
            number = len(members)
            if number:
                times[draw, members] = np.bincount(random.integers(0, number, number), minlength=number)
    return np.ascontiguousarray(times.T)


def smallest_stratum(patients: int, with_event: int) -> int:
    """Patients with an event, or those without, whichever are fewer; all of them where there is but one kind."""
    return min(with_event, patients - with_event) or patients
