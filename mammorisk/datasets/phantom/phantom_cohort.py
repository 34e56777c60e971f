"""Phantom cohort as a component: its settings mirror the YAML, and ``write`` creates the folder."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from rich.progress import Progress

from mammorisk.datasets.phantom import phantom_settings as groups
from mammorisk.datasets.phantom.anatomy import picture_grid
from mammorisk.datasets.phantom.formats import FORMATS, image_table
from mammorisk.datasets.phantom.phantom_settings import Group, require
from mammorisk.datasets.phantom.pictures import Album, Printing, bytes_needed, write_albums
from mammorisk.datasets.phantom.population import Population, draw_population
from mammorisk.datasets.phantom.render import PictureRules
from mammorisk.datasets.phantom.storage import make_folder, require_space
from mammorisk.datasets.phantom.woman import LATERALITIES, VIEWS, Settings
from mammorisk.errors import UserError
from mammorisk.messages import closest_match
from mammorisk.system.consoles import PlainConsole
from mammorisk.system.regular_files import read_text
from mammorisk.version import __version__

GENERATOR_VERSION = 2  # raise it when the same settings give different files
TABLE, RECORD = "cohort.csv", "settings.json"
_NOT_CONTENT = ("folder", "num_workers")


@dataclass(frozen=True)
class PhantomCohort(Group):
    """Simulated screening cohort.

    Attributes:
        num_women: number of women; a cohort of 1000 begins with the women of a cohort of 500.
        image_height: rows; the width is 19.5/24 of it. The women are the same at any height.
        seed: of the women.
        folder: base folder of ``write``, with one folder per combination of settings.
        splits: shares of train, val, test.
        format: ``own``, or the CSV and file names of a real cohort: ``embed`` | ``csaw``.
        displacements: also write ``displacements/….npy``: [2, H, W], the true (dy, dx) in pixels of the image,
            from each pixel to the same tissue in the exam before.
        num_workers: processes; null: all usable cores.
        woman: distributions of the women.
        precursor: lesion that may become cancer.
        lesion: appearance of focal densities.
        hazard: effects on the risk.
        screening: exams and follow-up.
        motion: displacement of the breast between exams.
        picture: image formation.

    Raises:
        UserError: a setting is out of range; names its key.
    """

    group: ClassVar[str] = ""
    num_women: int = 3000
    image_height: int = 128
    seed: int = 1
    folder: str = "data/phantom"
    splits: groups.Splits = field(default=groups.Splits())
    format: Literal["own", "embed", "csaw"] = "own"
    displacements: bool = False
    num_workers: int | None = None
    woman: groups.WomanSettings = field(default=groups.WomanSettings())
    precursor: groups.PrecursorSettings = field(default=groups.PrecursorSettings())
    lesion: groups.LesionSettings = field(default=groups.LesionSettings())
    hazard: groups.HazardSettings = field(default=groups.HazardSettings())
    screening: groups.ScreeningSettings = field(default=groups.ScreeningSettings())
    motion: groups.MotionSettings = field(default=groups.MotionSettings())
    picture: groups.PictureSettings = field(default=groups.PictureSettings())

    def check(self) -> None:
        """Check texts and switches; bounds check the numbers."""
        known = ", ".join(FORMATS)
        require(
            self.format in FORMATS, "format", self.format, f"one of {known}.{closest_match(str(self.format), FORMATS)}"
        )
        require(isinstance(self.displacements, bool), "displacements", self.displacements, "true or false")

    @property
    def image_width(self) -> int:
        """Number of columns of the images."""
        return picture_grid(self.image_height).columns

    @property
    def content(self) -> dict[str, Any]:
        """Settings that determine the files."""
        chosen = {key: value for key, value in asdict(self).items() if key not in _NOT_CONTENT}
        return {"generator_version": GENERATOR_VERSION, "settings": chosen}

    @property
    def key(self) -> str:
        """Name of the cohort's folder: a hash of the content."""
        text = json.dumps(_as_floats(self.content), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def population(self) -> Population:
        """Draw the women, their exams and outcomes, without images."""
        who = Settings(self.woman, self.precursor, self.lesion)
        return draw_population(who, self.hazard, self.screening, self.seed, self.num_women)

    def write(self) -> Path:
        """Write the cohort below ``folder`` unless it exists: ``cohort.csv``, ``images/``, ``settings.json``.

        Returns:
            Folder of the cohort.

        Raises:
            UserError: the disk is full.
        """
        folder = Path(self.folder).expanduser().absolute() / self.key
        make_folder(folder, lambda: self.is_in(folder), self._fill)
        return folder

    def write_to(self, folder: Path) -> bool:
        """Write the cohort into a folder that is missing or empty.

        Returns:
            True if it was written now; False if the folder already holds the same cohort.

        Raises:
            UserError: the folder holds other files, or the disk is full.
        """
        folder = folder.expanduser().absolute()
        if not self.is_in(folder) and (folder.is_file() or (folder.is_dir() and any(folder.iterdir()))):
            raise UserError(
                f"out={folder}: there is something else already, a cohort of other settings or other files.\n"
                "Choose a new folder, or remove this one first."
            )
        return make_folder(folder, lambda: self.is_in(folder), self._fill)

    def is_in(self, folder: Path) -> bool:
        """Whether ``folder`` holds this cohort."""
        try:
            return bool(read_record(folder)["key"] == self.key)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False

    def _fill(self, folder: Path) -> None:
        population = self.population()
        images = len(population.exams.woman) * len(LATERALITIES) * len(VIEWS)
        needed = bytes_needed(images, self.image_height, self.image_width, self.displacements)
        require_space(folder, needed, "Make room, or lower num_women or image_height, or choose another folder.")
        table, files = FORMATS[self.format](image_table(population, self.splits))
        table.to_csv(folder / TABLE, index=False, lineterminator="\n")
        self._write_pictures(population, files, folder)
        text = json.dumps(self._record(population, images), indent=2)
        (folder / RECORD).write_text(text + "\n", encoding="utf-8")

    def _write_pictures(self, population: Population, files: list[str], folder: Path) -> None:
        rules = PictureRules(self.precursor, self.lesion, self.motion, self.picture)
        printing = Printing(rules, self.image_height, self.displacements)
        is_terminal = sys.stderr.isatty()
        with Progress(console=PlainConsole(stderr=True), transient=True, disable=not is_terminal) as progress:
            task = progress.add_task(f"Drawing {self.num_women:,} women", total=self.num_women)
            for women in write_albums(_albums(population, files), folder, printing, self.num_workers):
                progress.advance(task, women)

    def _record(self, population: Population, images: int) -> dict[str, Any]:
        counts = {
            "women": len(population.women),
            "exams": len(population.exams.woman),
            "images": images,
            "cases": int(population.is_case.sum()),  # women with cancer before the end of the study
        }
        versions = {"mammorisk": __version__, "numpy": np.__version__, "opencv": cv2.__version__}
        baseline = population.hazard.baseline
        return {"key": self.key, **self.content, "versions": versions, "counts": counts, "baseline_hazard": baseline}


def read_record(folder: Path) -> dict[str, Any]:
    """Read ``settings.json`` of a written cohort: key, settings, versions, counts, baseline_hazard."""
    record: dict[str, Any] = json.loads(read_text(folder / RECORD))
    return record


def _albums(population: Population, files: list[str]) -> list[Album]:
    exams, per_exam = population.exams, len(LATERALITIES) * len(VIEWS)
    starts = np.searchsorted(exams.woman, np.arange(len(population.women) + 1))
    return [
        Album(
            woman,
            tuple(exams.time[first:last].tolist()),
            tuple(files[first * per_exam : last * per_exam]),
        )
        for woman, first, last in zip(population.women, starts[:-1], starts[1:], strict=True)
    ]


def _as_floats(value: Any) -> Any:
    """Convert numbers to one form, so that 3 and 3.0 give the same key."""
    if isinstance(value, dict):
        return {key: _as_floats(each) for key, each in value.items()}
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else value
