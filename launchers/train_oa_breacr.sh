#!/usr/bin/env bash
# Trains OA-BreaCR with its published recipe. Paths come from the environment, further overrides from the command line:
#   DATASET=csaw CSV_FILE=cohort.csv DATA_ROOT=png launchers/train_oa_breacr.sh seed=1
# DATASET     embed, csaw, mirai_csv, or phantom (the default, which needs no paths)
# CSV_FILE    cohort CSV with its split column
# DATA_ROOT   root folder of the images
# OUTPUT_DIR  base folder of run directories (outputs)
# CHECKPOINT  a checkpoint to continue from, or auto
# ENCODER_WEIGHTS  weights of the image encoder, or null for random ones; without it ImageNet's, which are downloaded once
set -euo pipefail

arguments=(experiment=published/oa_breacr "dataset=${DATASET:-phantom}" "out_dir=${OUTPUT_DIR:-outputs}")
[ -z "${CSV_FILE:-}" ] || arguments+=("dataset.csv_file='$CSV_FILE'")
[ -z "${DATA_ROOT:-}" ] || arguments+=("dataset.data_root='$DATA_ROOT'")
[ -z "${CHECKPOINT:-}" ] || arguments+=("trainer.resume_from='$CHECKPOINT'")
[ -z "${ENCODER_WEIGHTS:-}" ] || arguments+=("model.encoder.pretrained='$ENCODER_WEIGHTS'")

exec mammorisk-train "${arguments[@]}" "$@"
