"""Structured configuration: schemas of the settings that commands read, and the folder of the YAML files.

Components (model, registration, augment, …) have no schema: their constructors are the reference of their YAML, and
``check_config`` compares the two before any data is read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

_PACKAGED = Path(__file__).parent / "conf"
CONF_DIR = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[1] / "conf"


@dataclass
class DatasetConfig:
    """Files of a cohort and the reading of its table (docs/data.md#cohort-table)."""

    name: str = MISSING  # for messages and tables
    csv_file: str | None = MISSING  # cohort CSV, one row per image, with a split column
    data_root: str | None = MISSING  # root folder of the images
    columns: dict[str, str | None] = field(default_factory=dict)  # ours -> the CSV's; A|B: first there
    codes: dict[str, dict[str, str | None]] = field(default_factory=dict)  # column -> CSV value -> ours; null excludes
    cancer_types: dict[str, str] = field(default_factory=dict)  # our code -> its name in tables and pages
    risk_factors: dict[str, str | None] = field(default_factory=dict)  # risk factor -> the CSV's column (Mirai)
    file_pattern: str | None = None  # regex with named groups, for cohorts whose CSV names no files
    no_cancer_value: float | None = None  # years_to_cancer that means "none seen" (Mirai: 100)
    image_size: list[int] = field(default_factory=lambda: [2048, 1664])  # rows, columns fed to the model
    orientation: str = "native"  # native | left (right breasts mirrored: chest wall left, as Mirai)
    missing_followup: str = "drop"  # drop | one_year
    duplicate_view: str = "newest"  # newest | oldest | error: two images of one exam, breast and view
    on_error: str = "fail"  # fail | skip: unreadable or missing images
    cache: str | None = "none"  # none | folder where decoded images are kept
    batch_size: int = 12  # samples per process and step
    num_workers: int = 4  # data-loading processes per training process
    class_balance: float | None = None  # share of cases among training samples, by resampling
    generator: Any = None  # component that writes the cohort first (dataset=phantom)


@dataclass
class OptimConfig:
    """Optimiser and learning-rate schedules (docs/training.md#settings)."""

    learning_rate: float = 5e-5  # newly added modules
    encoder_lr_scale: float = 0.1  # image encoder: this times the rate
    weight_decay: float = 1e-4
    warmup_steps: int = 5000  # linear from 0, one per optimiser step
    use_scheduler: bool = True  # plateau on the validation C-index (register: NCC), after warm-up
    patience_lr_scheduler: int = 5  # epochs
    lr_decay: float = 0.5  # factor of a plateau step
    lr_decay_per_epoch: float = 1.0  # the rate is multiplied by it after each epoch, after warm-up
    min_lr: float = 1e-7
    max_grad_norm: float | None = None  # clip gradients; null: do not
    optimizer: Any = MISSING  # partial factory: parameter groups -> optimiser


@dataclass
class TrainerConfig:
    """The training loop."""

    num_epochs: int = 100
    patience: int = 15  # early stopping: epochs without a better validation C-index (register: NCC)
    resume_from: str | None = None  # checkpoint path, or auto
    mixed_precision: str = "no"  # no | bf16 | fp16
    gradient_accumulation_steps: int = 1
    samples_per_epoch: int | None = None  # training samples of an epoch at most, others in each; null: all
    validation_samples: int | None = None  # validation samples at most, always the same; null: all
    checkpoint_every: int = 10  # epochs
    save_every_minutes: float = 30.0  # rolling save inside long epochs; 0: after every step
    num_processes: int | None = None  # number of processes expected; checked
    cpu: bool = False  # stay on the CPU even where there is a GPU
    deterministic: bool = True  # deterministic cuDNN kernels


@dataclass
class TrackingConfig:
    """Tracking of metrics, in addition to metrics.csv."""

    backend: str = "wandb"  # wandb | none
    mode: str = "auto"  # auto (online with a key, else offline) | online | offline | disabled
    project: str = "mammorisk"
    entity: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    wandb_id: str | None = None  # continue that W&B run


@dataclass
class TrainConfig:
    """Root of ``mammorisk-train``."""

    model: Any = None  # required
    dataset: DatasetConfig = MISSING
    optim: OptimConfig = MISSING
    augment: Any = MISSING
    registration: Any = MISSING
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    out_dir: str = "outputs"  # base folder of run directories
    seed: int = 2023
    id_training: int = 1  # goes into file names


@dataclass
class RegisterConfig:
    """Root of ``mammorisk-register``."""

    action: str = "train"  # train | evaluate
    model: Any = MISSING  # objective around the network
    dataset: DatasetConfig = MISSING
    optim: OptimConfig = MISSING
    augment: Any = MISSING
    registration: Any = MISSING
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    split: str = "test"  # that evaluate scores
    pictures: int = 6  # pairs that evaluate draws
    bootstrap_samples: int = 1000  # of the bootstrap over patients
    out_dir: str = "outputs"  # base folder of run directories
    seed: int = 2023
    id_training: int = 1  # goes into file names


@dataclass
class PredictConfig:
    """Root of ``mammorisk-predict``."""

    checkpoint: str = MISSING  # of a training
    csv_file: str | None = None  # exams to score: one row per image
    data_root: str | None = None  # folder of the images; null: the CSV's
    dicom: list[str] = field(default_factory=list)  # instead of a CSV: the files of one exam, or their folder
    prior_dicom: list[str] = field(default_factory=list)  # those of the exams before
    recalibration: str | None = None  # of mammorisk-evaluate recalibrate=...
    conversion: Any = MISSING  # how a DICOM file becomes an image: component (conf/conversion/)
    out: str | None = None  # file to write
    overwrite: bool = False  # replace another file of this name
    dataset: dict[str, Any] = field(default_factory=dict)  # settings that differ from the training's
    cpu: bool = False  # stay on the CPU even where there is a GPU
    allow_modules: list[str] = field(default_factory=list)  # own modules whose components the checkpoint may name


@dataclass
class MeasuringConfig:
    """Settings shared by ``mammorisk-evaluate`` and ``mammorisk-compare``."""

    split: str = "test"  # train | val | test
    cohort: str | None = None  # option of conf/dataset, or as_trained; null: that of the run directory
    dataset: dict[str, Any] = field(default_factory=dict)  # settings that differ from the cohort's
    bootstrap_samples: int = 2000  # of the bootstrap over patients
    seed: int = 0  # of the bootstrap samples
    confidence: float = 0.95  # of the intervals
    min_group_size: int = 5  # patients with and without cancer that a group needs to be measured
    population_incidence: float | None = None  # of cancer in five years, for case-control cohorts
    cpu: bool = False  # stay on the CPU even where there is a GPU
    encoder_cache: str | None = None  # folder of kept features (model.encoder.cache of a training)
    registration_cache: str | None = None  # folder of kept displacements (registration.cache of a training)
    allow_modules: list[str] = field(default_factory=list)  # own modules whose components a checkpoint may name
    out_dir: str = "outputs"  # base folder of run directories


@dataclass
class EvaluateConfig(MeasuringConfig):
    """Root of ``mammorisk-evaluate``."""

    checkpoint: str | None = None  # of a training
    run: str | None = None  # or its run directory
    which: str = "best"  # best | last: checkpoint of the run directory
    recalibrate: str | None = None  # platt | isotonic, fitted on the validation split
    examples: int = 5  # exams of each kind that the page shows
    id_training: int | None = None  # goes into the log's name; null: the training's


@dataclass
class CompareConfig(MeasuringConfig):
    """Root of ``mammorisk-compare``."""

    runs: list[str] = field(default_factory=list)  # run directories; the first is the reference
    names: list[str] = field(default_factory=list)  # of the runs in tables; empty: those of their models
    common: bool = False  # compare only the exams that all runs have


def options(group: str) -> list[str]:
    """List the names that ``group=NAME`` accepts, those in subfolders as ``folder/name``."""
    folder = CONF_DIR / group
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def plain_settings(config: DictConfig, resolve: bool = False) -> dict[str, Any]:
    """Convert a configuration to plain containers.

    Args:
        config: a mapping.
        resolve: follow references; else they stay as text.
    """
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=resolve, enum_to_str=True))


def register_schemas() -> None:
    """Register the schemas in Hydra's store, where the YAML defaults lists find them; safe to call twice."""
    store = ConfigStore.instance()
    # Hydra copies the whole store whenever it looks for a group, 140 times for --help, and never writes to the copy.
    vars(store)["__deepcopy__"] = lambda memo: store
    store.store(name="train_schema", node=TrainConfig)
    store.store(name="register_schema", node=RegisterConfig)
    for name, root in (("predict", PredictConfig), ("evaluate", EvaluateConfig), ("compare", CompareConfig)):
        node = OmegaConf.structured(root)
        OmegaConf.set_struct(node.dataset, False)  # any key can be set; it is compared with the training's later
        store.store(name=f"{name}_schema", node=node)
    dataset = OmegaConf.structured(DatasetConfig)
    OmegaConf.set_struct(dataset.risk_factors, False)  # any name can be set; the cohort reader checks it
    groups = {"dataset": dataset, "optim": OptimConfig, "trainer": TrainerConfig, "tracking": TrackingConfig}
    for group, schema in groups.items():
        store.store(group=group, name=f"{group}_schema", node=schema)


def quoted(place: str) -> str:
    """Quote a path for Hydra's grammar."""
    escaped = place.replace("'", "\\'")
    return f"'{escaped}'"
