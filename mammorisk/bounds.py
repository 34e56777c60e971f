"""Bounds of every number of a cohort and of a configuration, in one table.

Four callers use it: ``config_check`` for the command line, constructors for their arguments, the cohort reader for
columns, and the gate of stored configurations for untrusted checkpoints. A network with one value at its upper bound
can still be built on a small machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mammorisk.bound import Bound, shown
from mammorisk.errors import UserError

Bounds = Mapping[str, Bound]

_SHARE = Bound(0, 1)
_INSIDE = Bound(0, 1, above=True, below=True)  # a share, neither 0 nor 1
_DROPPED = Bound(0, 1, below=True)  # dropout probability
_WEIGHT = Bound(0, 10_000)  # of a term of a loss
_WORKERS = Bound(1, 1024, whole=True, null=True)
_HEADS = Bound(1, 256, whole=True)
_YEARS_OF_RISK = Bound(5, 5, whole=True)  # batch.MAX_FOLLOWUP: labels have as many years, and tables as many columns
_SIZE = Bound(1, 16384, whole=True, count=(2, 2))  # rows, columns
_PATIENCE = Bound(1, 1_000_000, whole=True)  # epochs
_RATE = Bound(0, 100, above=True)
_DECAY = Bound(0, 10)
_ENDS = Bound(0, 100, above=True, count=(2, 2), rising=True)  # of a range of factors
_DAYS = Bound(0, 36500, whole=True)
_YEAR = Bound(1900, 2300, whole=True)  # de-identified archives shift dates
_AGE = Bound(0, 120)
_YEARS = Bound(0, 100)
_DEVIATION = Bound(0, 10)
# A training adds the rank to the seed, and the sum must fit into 32 bits.
_SEED = Bound(0, 2**32 - 1 - 4096, whole=True)

_OPTIMIZER = {"lr": _RATE, "betas": Bound(0, 1, below=True, count=(2, 2)), "eps": _SHARE, "weight_decay": _DECAY}
_REGISTRATION = {
    "image_size": Bound(1, 16384, whole=True, count=(2, 2), null=True),
    "channels": Bound(1, 1024, whole=True, count=(2, 8)),
    "decoder_channels": Bound(1, 1024, whole=True, count=(2, 8)),
    "num_heads": Bound(1, 256, whole=True, count=(1, 7)),
    "depth": Bound(1, 32, whole=True),
    "window": Bound(1, 16, whole=True),
    "shift": Bound(0, 15, whole=True),
    "mlp_ratio": Bound(0.25, 16),
}

# Settings of the configuration by their section ("" is the root); settings of a component by the name of its class,
# because a component may stand anywhere and two components may use one parameter name differently.
BOUNDS: dict[str, Bounds] = {
    "": {
        "seed": _SEED,
        "id_training": Bound(0, 10**12, whole=True, null=True),
        "pictures": Bound(0, 1000, whole=True),
        "bootstrap_samples": Bound(1, 1_000_000, whole=True),
        "confidence": _INSIDE,
        "min_group_size": Bound(1, 1_000_000, whole=True),
        "population_incidence": Bound(0, 1, above=True, below=True, null=True),
        "examples": Bound(0, 1000, whole=True),
        "num_workers": _WORKERS,
    },
    "dataset": {
        "no_cancer_value": Bound(-1e9, 1e9, null=True),
        "image_size": _SIZE,
        "batch_size": Bound(1, 4096, whole=True),
        "num_workers": Bound(0, 1024, whole=True),
        "class_balance": Bound(0, 1, above=True, below=True, null=True),
    },
    "optim": {
        "learning_rate": _RATE,
        "encoder_lr_scale": _RATE,
        "weight_decay": _DECAY,
        "warmup_steps": Bound(0, 100_000_000, whole=True),
        "patience_lr_scheduler": Bound(0, 1_000_000, whole=True),
        "lr_decay": _INSIDE,
        "lr_decay_per_epoch": Bound(0, 1, above=True),
        "min_lr": Bound(0, 100),
        "max_grad_norm": Bound(0, 1e9, above=True, null=True),
    },
    "trainer": {
        "num_epochs": Bound(1, 1_000_000, whole=True),
        "patience": _PATIENCE,
        "gradient_accumulation_steps": Bound(1, 1024, whole=True),
        "samples_per_epoch": Bound(1, 10**9, whole=True, null=True),
        "validation_samples": Bound(1, 10**9, whole=True, null=True),
        "checkpoint_every": _PATIENCE,
        "save_every_minutes": Bound(0, 525_600),  # a year
        "num_processes": Bound(1, 4096, whole=True, null=True),
    },
    "split": {"seed": _SEED, "train": _INSIDE, "val": _INSIDE, "test": _INSIDE},
    "hydra.sweeper": {
        "seed": _SEED,
        "n_trials": Bound(1, 100_000, whole=True),
        "n_jobs": Bound(1, 1024, whole=True),
    },
    "hydra.launcher": {
        "nodes": Bound(1, 1024, whole=True),
        "tasks_per_node": Bound(1, 1024, whole=True),
        "gpus_per_node": Bound(0, 1024, whole=True, null=True),
        "cpus_per_task": Bound(1, 1024, whole=True, null=True),
        "timeout_min": Bound(1, 525_600, whole=True),
        "signal_delay_s": Bound(0, 86_400, whole=True),
        "max_num_timeout": Bound(0, 1_000_000, whole=True),
        "array_parallelism": Bound(1, 100_000, whole=True),
    },
    "optuna.samplers.TPESampler": {
        "prior_weight": Bound(0, 1e6, above=True),
        "n_startup_trials": Bound(0, 100_000, whole=True),
        "n_ei_candidates": Bound(1, 100_000, whole=True),
        "seed": Bound(0, _SEED.high, whole=True, null=True),
    },
    "torch.optim.Adam": _OPTIMIZER,
    "torch.optim.AdamW": _OPTIMIZER,
    "mammorisk.models.encoders.ResNetEncoder": {
        "width": Bound(1, 256, whole=True),
        "stride": Bound(4, 32, whole=True, among=(4, 8, 16, 32)),
        "input_mean": Bound(-1e9, 1e9, null=True),
        "input_std": Bound(0, 1e9, above=True, null=True),
    },
    "mammorisk.models.imgfeatalign.ImgFeatAlign": {
        "num_heads": _HEADS,
        "ffn_expansion": Bound(1, 16, whole=True),
        "dropout": _DROPPED,
        "time_dropout": _DROPPED,
        "max_followup": _YEARS_OF_RISK,
        "auxiliary_weight": _WEIGHT,
    },
    "mammorisk.models.lmv_net.LMVNet": {
        "num_attn_blocks": Bound(1, 12, whole=True),
        "num_heads": _HEADS,
        "ffn_expansion": Bound(0.25, 16),
        "dropout": _DROPPED,
        "stochastic_depth": _DROPPED,
        "time_dropout": _DROPPED,
        "max_followup": _YEARS_OF_RISK,
        "auxiliary_weight": _WEIGHT,
    },
    "mammorisk.models.mirai.Mirai": {
        "hidden_dim": Bound(1, 4096, whole=True, null=True),
        "num_heads": _HEADS,
        "num_layers": Bound(1, 24, whole=True),
        "dropout": _DROPPED,
        "risk_factor_weight": _WEIGHT,
        "max_followup": _YEARS_OF_RISK,
    },
    "mammorisk.models.oa_breacr.OABreaCR": {
        "image_size": _SIZE,
        "max_t": Bound(1, 1000, whole=True),
        "margin": Bound(0, 1e6),
        "kl_weight": _WEIGHT,
        "triplet_weight": _WEIGHT,
        "alignment_weight": _WEIGHT,
        "dropout": _DROPPED,
        "embedding_dropout": _DROPPED,
        "time_dropout": _DROPPED,
        "max_followup": _YEARS_OF_RISK,
        "auxiliary_weight": _WEIGHT,
    },
    "mammorisk.models.vmra_mar.VMRAMaR": {
        "exams": Bound(1, 5, whole=True),
        "depth": Bound(1, 16, whole=True),
        "d_state": Bound(1, 256, whole=True),
        "d_conv": Bound(1, 31, whole=True),
        "expand": Bound(0.25, 8),
        "asymmetry_rows": Bound(1, 128, whole=True),
        "asymmetry_columns": Bound(1, 128, whole=True),
        "asymmetry_mean": Bound(-1e9, 1e9),
        "asymmetry_std": Bound(0, 1e9, above=True),
        "persistent_reach": Bound(0, 10),
        "persistent_weight": _WEIGHT,
        "max_followup": _YEARS_OF_RISK,
    },
    "mammorisk.losses.ordinal.ordinal_risk_loss": {
        "bce_weight": _WEIGHT,
        "mean_weight": _WEIGHT,
        "variance_weight": _WEIGHT,
    },
    "mammorisk.registration.mammoregnet.MammoRegNet": _REGISTRATION,
    "mammorisk.registration.affine.AffineRegistration": _REGISTRATION,
    "mammorisk.training.registration.PairRegistration": {"smoothness_weight": _WEIGHT, "folding_weight": _WEIGHT},
    "mammorisk.augment.longitudinal.LongitudinalAugment": {
        "crop_size": Bound(0, 1, above=True, count=(2, 2)),
        "crop_probability": _SHARE,
        "translation": _SHARE,
        "scale": _ENDS,
        "affine_probability": _SHARE,
        "horizontal_flip": _SHARE,
        "brightness": _SHARE,
        "contrast": _SHARE,
        "jitter_probability": _SHARE,
        "gamma": _ENDS,
        "gain": _ENDS,
        "gamma_probability": _SHARE,
    },
    "mammorisk.dicom.conversion_settings.Conversion": {
        "image_size": Bound(16, 16384, whole=True, count=(2, 2), null=True),
        "voi_index": Bound(0, 1000, whole=True),
        "percentiles": Bound(0, 100, count=(2, 2), rising=True),
    },
    "mammorisk.preparation.embed.EmbedDownload": {"carry_back_days": _DAYS, "resolve_days": _DAYS},
    "mammorisk.preparation.csaw.CsawDownload": {"last_year": _YEAR},
    "mammorisk.datasets.phantom.phantom_cohort.PhantomCohort": {
        "num_women": Bound(1, 10_000_000, whole=True),
        "image_height": Bound(32, 4096, whole=True),
        "seed": Bound(0, 2**32 - 1, whole=True),
        "num_workers": _WORKERS,
    },
    "mammorisk.datasets.phantom.phantom_settings.Splits": {"train": _SHARE, "val": _SHARE, "test": _SHARE},
    "mammorisk.datasets.phantom.phantom_settings.DensityClass": {"share": _SHARE, "mean": _SHARE, "sd": _SHARE},
    "mammorisk.datasets.phantom.phantom_settings.WomanSettings": {
        "age_mean": _AGE,
        "age_sd": _AGE,
        "age_min": _AGE,
        "age_max": _AGE,
        "asymmetry_sd": Bound(1e-6, 10),
    },
    "mammorisk.datasets.phantom.phantom_settings.PrecursorSettings": {
        "prevalence": _SHARE,
        "onset_rate": Bound(1e-6, 100),
        "growth": Bound(1e-6, 100),
        "growth_sd": _DEVIATION,
        "contrast_max": Bound(1e-6, 1000),
    },
    "mammorisk.datasets.phantom.phantom_settings.LesionSettings": {
        "benign_per_breast": Bound(0, 1000),
        "radius_min": Bound(0.05, 20),
        "radius_max": Bound(0.05, 20),
        "contrast": Bound(0, 1000),
    },
    "mammorisk.datasets.phantom.phantom_settings.HazardSettings": {
        "age": Bound(-10, 10),
        "density": Bound(-10, 10),
        "asymmetry": Bound(-10, 10),
        "contrast": Bound(0, 10),
        "frailty_sd": Bound(0, 3),
        "event_rate": Bound(1e-4, 0.9),
    },
    "mammorisk.datasets.phantom.phantom_settings.ScreeningSettings": {
        "exams_min": Bound(1, 50, whole=True),
        "exams_max": Bound(1, 50, whole=True),
        "yearly_share": _SHARE,
        "interval_sd": Bound(0, 0.2),
        "followup_min": Bound(1, 100),
        "followup_max": Bound(1, 100),
    },
    "mammorisk.datasets.phantom.phantom_settings.MotionSettings": {
        "displacement_rms": Bound(0, 2),
        "grid": Bound(1, 50, whole=True),
        "translation_sd": Bound(0, 3),
        "rotation_sd": Bound(0, 20),
        "scale_sd": Bound(0, 0.2),
    },
    "mammorisk.datasets.phantom.phantom_settings.PictureSettings": {
        "shared_texture": _SHARE,
        "fresh_texture": Bound(0, 4),
        "involution": _SHARE,
        "tissue_max": Bound(0.1, 100),
        "gain_sd": _SHARE,
        "gamma_sd": _SHARE,
        "noise_sd": _SHARE,
        "white": Bound(255, 65535, whole=True),
    },
}

# Columns of a cohort table and of the downloads it is made from; an empty cell is always allowed and means unknown.
COHORT: Bounds = {
    "exam_date": _YEAR,  # its year
    "exam_year": _YEAR,
    "age": _AGE,
    "years_to_cancer": _YEARS,
    "years_to_last_followup": _YEARS,
    "percent_density": Bound(0, 100),
    "true_risk": _SHARE,
    "cancer_type": Bound(0, 999_999_999, whole=True),
    "menarche_age": _AGE,
    "menopause_age": _AGE,
    "first_pregnancy_age": _AGE,
    "ovarian_cancer_age": _AGE,
    "weight": Bound(0, 1500),  # pounds
    "height": Bound(0, 120),  # inches
    "hrt_duration": _YEARS,
    "hrt_years_ago_stopped": _YEARS,
    "series_time": Bound(0, 240_000),  # HHMMSS
}


def out_of_bounds(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Find the numbers of a plain configuration that are out of bounds, one sentence each.

    Missing values (``???``) and references (``${…}``) are skipped. Components of other packages have no bounds.

    Args:
        settings: nested mappings, as read from YAML.
        prefix: of the keys, for example ``dataset.``.
    """
    for key, value, bound in outliers(settings, prefix):
        yield f"{shown(key)}={shown(value)}: expected {bound}"


def outliers(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Bound]]:
    """Find the keys that ``out_of_bounds`` reports, each with its value and its bound."""
    target = settings.get("_target_")
    bounds = BOUNDS.get(prefix.removesuffix(".")) or {} if target is None else BOUNDS.get(str(target), {})
    if prefix in ("hydra.sweeper.", "hydra.launcher."):  # classes of plug-ins, bounded by their section
        bounds = BOUNDS[prefix.removesuffix(".")]
    for name, value in settings.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and name not in bounds:
            yield from outliers(value, f"{key}.")
        elif name in bounds and not _is_open(value) and value not in bounds[name]:
            yield key, value, bounds[name]


def require_in_bounds(component: str, values: Mapping[str, Any], prefix: str = "") -> None:
    """Check the settings of a component against the table of bounds.

    Args:
        component: the name of its class, as in ``_target_``.
        values: parameter -> value.
        prefix: of the keys in the message, for example ``conversion.``.

    Raises:
        UserError: lists every value that is out of bounds.
    """
    wrong = list(out_of_bounds({**values, "_target_": component}, prefix))
    if wrong:
        raise UserError("\n".join(f"{line}." for line in wrong))


def _is_open(value: object) -> bool:
    """Whether a value is missing or a reference."""
    return isinstance(value, str) and (value == "???" or "${" in value)
