"""``mammorisk-predict``: risks of exams without outcomes; a CSV in, a CSV out, or DICOM files of one exam to JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from mammorisk.cli.main import run_command
from mammorisk.config_check import bad_numbers, component_problems
from mammorisk.distributed.launch import is_main_rank, world_size
from mammorisk.errors import UserError
from mammorisk.system.atomic_files import whole_file
from mammorisk.system.printing import print_out, print_result

if TYPE_CHECKING:
    import pandas as pd

    from mammorisk.prediction.loaded_model import TrainedModel

_EXAMPLE = "mammorisk-predict checkpoint=outputs/RUN/best_model_NAME.pth csv_file=exams.csv out=risks.csv"
_SHOWN = 10  # reasons; the file has all


def main() -> None:
    """Entry point."""
    run_command(predict_risks, "predict")


def predict_risks(config: DictConfig) -> None:
    """Score the exams of ``config.csv_file``, or the one of ``config.dicom``.

    Raises:
        UserError: anything that a user has to correct; no sample could be scored (the reasons are written first).
    """
    _check(config)
    # imported late: help and errors of the configuration need not wait for torch
    from mammorisk.prediction.loaded_model import load_model

    model = load_model(str(config.checkpoint), "cpu" if config.cpu else None, list(config.allow_modules))
    if config.dicom:
        _score_dicom(config, model)
    else:
        _score_csv(config, model)


def _score_csv(config: DictConfig, model: TrainedModel) -> None:
    from mammorisk.prediction.api import predict

    overrides = cast(dict[str, Any], OmegaConf.to_container(config.dataset, resolve=True))
    named = {str(key): value for key, value in overrides.items()}
    risks = predict(model, str(config.csv_file), config.data_root, named, config.recalibration)
    if is_main_rank():
        _write(Path(str(config.out)).expanduser(), risks.to_csv(index=False))
        print_out(_summary(risks, str(config.out)))
    if bool(risks["risk_1y"].isna().all()):
        raise UserError(f"No sample could be scored; {config.out} has the reason for each.")


def _score_dicom(config: DictConfig, model: TrainedModel) -> None:
    from hydra.utils import instantiate

    from mammorisk.prediction.dicom_exam import predict_dicom

    conversion = instantiate(config.conversion, _convert_="all")
    answer = predict_dicom(model, list(config.dicom), list(config.prior_dicom), conversion, config.recalibration)
    text = json.dumps(answer, indent=2) + "\n"
    if config.out is None:
        print_result(text)
        return
    _write(Path(str(config.out)).expanduser(), text)
    print_out(f"{config.out}: the risks of {len(answer['risks'])} sample(s).")


def _check(config: DictConfig) -> None:
    """Check the command line before torch is imported."""
    if OmegaConf.is_missing(config, "checkpoint"):
        raise UserError(f"checkpoint is not set: give that of a training, for example\n  {_EXAMPLE}")
    if (config.csv_file is None) == (not config.dicom):
        found = "neither" if config.csv_file is None else "both"
        raise UserError(f"Expected csv_file=... or dicom=[...], found {found}. For example\n  {_EXAMPLE}")
    if config.prior_dicom and not config.dicom:
        raise UserError("prior_dicom goes with dicom only: a CSV has a row for every image of every exam.")
    if config.dicom and world_size() > 1:
        raise UserError("dicom=[...] is one exam: start the command without torchrun.")
    if config.csv_file is not None and config.out is None:
        raise UserError(f"out is not set: give the CSV to write, for example\n  {_EXAMPLE}")
    problems = component_problems(OmegaConf.to_container(config.conversion), "conversion")
    problems += [line for key, line in bad_numbers(config).items() if not problems]
    if problems:
        raise UserError("\n".join(problems))
    if config.out is None:
        return
    out = Path(str(config.out)).expanduser()
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise UserError(f"out={config.out}: expected the name of a file in a folder that exists.")
    if out.exists() and not config.overwrite:
        raise UserError(f"{out} is there already. Give another name, or overwrite=true to replace it.")


def _write(out: Path, text: str) -> None:
    try:
        with whole_file(out) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error}.") from error


def _summary(risks: pd.DataFrame, out: str) -> str:
    """How many samples were scored, and why others were not."""
    is_scored = risks["risk_1y"].notna()
    lines = [f"{out}: {int(is_scored.sum()):,} samples scored, {int((~is_scored).sum()):,} left out."]
    for title, part in (("left out", risks[~is_scored]), ("scored, but", risks[is_scored & (risks["reason"] != "")])):
        counts = part["reason"].value_counts()
        lines += [f"  {count:7,} {title}: {reason}" for reason, count in counts.head(_SHOWN).items()]
        if len(counts) > _SHOWN:
            lines.append(f"          and {len(counts) - _SHOWN:,} more reasons {title}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
