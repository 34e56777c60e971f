#!/usr/bin/env bash
# Evaluates any trained model. Paths come from the environment, further overrides from the command line:
#   RUN=outputs/MODEL launchers/evaluate.sh bootstrap_samples=500
# RUN         run directory of a training (its best model), or a checkpoint
# DATASET     embed, csaw or mirai_csv; without it, the cohort of the training
# CSV_FILE    cohort CSV with its split column; without it, that of the training
# DATA_ROOT   root folder of the images
# SPLIT       train, val or test (the default)
# OUTPUT_DIR  base folder of run directories (outputs)
set -euo pipefail

arguments=("${RUN:?set RUN to the run directory or checkpoint of a training}" "split=${SPLIT:-test}" "out_dir='${OUTPUT_DIR:-outputs}'")
[ -z "${DATASET:-}" ] || arguments+=("dataset=$DATASET")
[ -z "${CSV_FILE:-}" ] || arguments+=("dataset.csv_file='$CSV_FILE'")
[ -z "${DATA_ROOT:-}" ] || arguments+=("dataset.data_root='$DATA_ROOT'")

exec mammorisk-evaluate "${arguments[@]}" "$@"
