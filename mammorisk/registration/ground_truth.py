"""True displacements of a phantom in place of a registration: an upper bound for any registration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mammorisk.datasets.displacements import DisplacementRequest, Floats
from mammorisk.datasets.phantom.pictures import field_file
from mammorisk.errors import UserError
from mammorisk.system.regular_files import open_regular
from mammorisk.warping import resize_displacement, warp

_HOW_TO_FIX = (
    "registration=ground_truth needs a cohort that dataset=phantom writes in its own format, with "
    "dataset.generator.displacements=true (which it sets itself)."
)


class GroundTruth(nn.Module):
    """Placeholder for a registration: the true displacements come with the batch, it computes none."""

    def __init__(self) -> None:  # nn.Module's own would ignore any keyword of the YAML
        super().__init__()

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Refuse to register images.

        Raises:
            UserError: always; the batch had no displacement.
        """
        raise UserError(
            "A batch has no displacement field, and registration=ground_truth computes none from images: true "
            f"displacements come with a phantom cohort. {_HOW_TO_FIX} For other images choose another registration."
        )


class TrueDisplacements:
    """Reader of ``displacements/….npy`` of a phantom cohort, in the orientation and size that the model needs.

    Args:
        request: pairs of exams.

    Raises:
        UserError: the cohort has no such displacements.
    """

    def __init__(self, request: DisplacementRequest) -> None:
        table = request.table
        self.size = request.field_size
        self._file = table["file"].to_numpy(dtype=object)
        self._csv_row = table["csv_row"].to_numpy()
        self._patient = table["patient_id"].to_numpy(dtype=object)
        self._exam = table["exam_id"].to_numpy(dtype=object)
        self._mirror = request.mirrored
        for current, prior in request.pairs[:1]:  # one is enough here; each is checked when it is read
            self._files(int(current), int(prior))
            self.read(int(current), int(prior))

    def read(self, current: int, prior: int) -> Floats:
        """See ``DisplacementSource``. Exams between the two, of which images are missing, are passed through."""
        files = self._files(current, prior)
        field = self._load(files[0], current)
        for file in files[1:]:
            field = field + warp(self._load(file, current), field, outside="border")
        if self._mirror[current]:  # mirrored columns change the sign of dx
            field = field.flip(-1) * field.new_tensor([1.0, -1.0])[:, None, None]
        resized: Floats = resize_displacement(field, self.size)[0].numpy()  # [1, 2, h, w] -> [2, h, w]
        return resized

    def _files(self, current: int, prior: int) -> list[Path]:
        """Files from the current exam back to the one after the prior: each leads to the exam before it."""
        last, first = self._number(current), self._number(prior)
        image, exam, patient = Path(self._file[current]), self._exam[current], self._patient[current]
        if len(image.parents) < 3 or not image.name.startswith(exam):
            raise UserError(f"{image} is not in the folders of a phantom cohort. {_HOW_TO_FIX}")
        folder = image.parents[2]
        names = [image.name.replace(exam, f"{patient}{number:08d}", 1) for number in range(last, first, -1)]
        return [folder / field_file(str(image.with_name(name).relative_to(folder))) for name in names]

    def _number(self, row: int) -> int:
        exam, patient = self._exam[row], self._patient[row]
        number = exam.removeprefix(patient)
        if len(number) != 8 or not number.isdecimal():
            raise UserError(f"The exam '{exam}' of patient '{patient}' is not of a phantom cohort. {_HOW_TO_FIX}")
        return int(number)

    def _load(self, file: Path, row: int) -> Tensor:
        """[1, 2, H, W]."""
        try:
            field = _stored(file)
        except FileNotFoundError as error:
            raise UserError(
                f"There are no true displacements {file} for row {self._csv_row[row]} of the cohort. {_HOW_TO_FIX}"
            ) from error
        except (OSError, ValueError, EOFError, MemoryError) as error:
            raise UserError(
                f"The true displacements {file} cannot be read: {error}. Remove the cohort's folder; it is then "
                "written again."
            ) from error
        return torch.from_numpy(field)[None]


def _stored(file: Path) -> Floats:
    """The one array of a file, which holds nothing else."""
    with open_regular(file) as opened:
        field = np.lib.format.read_array(opened, allow_pickle=False)
        if field.ndim != 3 or len(field) != 2 or field.dtype.kind != "f":
            raise ValueError(f"expected numbers [2, H, W], found {field.dtype} {list(field.shape)}")
        if opened.read(1):
            raise ValueError("more follows its last value")
    if not np.isfinite(field).all():
        raise ValueError("not all its values are finite")
    return np.asarray(field, dtype=np.float32)
