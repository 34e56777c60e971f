"""Calls of the notebook interface on untrusted checkpoints, one after the other in one process, each a line of JSON."""

from __future__ import annotations

import json
import sys

from mammorisk.errors import UserError


def answered(how: str, checkpoint: str, *more: str) -> str:
    """Call a function on a checkpoint; return the refusal, or the note of success."""
    import mammorisk

    calls = {
        "load_model": lambda: mammorisk.load_model(checkpoint, "cpu"),
        "predict": lambda: mammorisk.predict(checkpoint, *more),
        "predict_dicom": lambda: mammorisk.predict_dicom(checkpoint, more),
        "evaluate": lambda: mammorisk.evaluate(
            checkpoint, bootstrap_samples=5, cpu=True, examples=0, dataset=json.loads(more[0])
        ),
    }
    try:
        calls[how]()
    except UserError as error:
        return str(error)
    return "well"


if __name__ == "__main__":
    how, *rest = sys.argv[1:]
    checkpoints, more = rest[: rest.index("--")], rest[rest.index("--") + 1 :]
    for each in checkpoints:
        print(json.dumps([each, answered(how, each, *more)]))
