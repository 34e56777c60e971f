#!/usr/bin/env bash
# Trains LMV-Net with its published recipe. Paths come from the environment, further overrides from the command line:
#   DATASET=csaw CSV_FILE=cohort.csv DATA_ROOT=png launchers/train_lmv_net.sh seed=1
# DATASET     embed, csaw, mirai_csv, or phantom (the default, which needs no paths)
# CSV_FILE    cohort CSV with its split column
# DATA_ROOT   root folder of the images
# OUTPUT_DIR  base folder of run directories (outputs)
# CHECKPOINT  a checkpoint to continue from, or auto
# ENCODER_WEIGHTS  weights of the image encoder: a Mirai snapshot, …; without it the encoder starts at random
# REGISTRATION_CHECKPOINT  trained weights of MammoRegNet, which aligns the exams; none yet? registration=identity
set -euo pipefail

arguments=(experiment=published/lmv_net "dataset=${DATASET:-phantom}" "out_dir=${OUTPUT_DIR:-outputs}")
[ -z "${CSV_FILE:-}" ] || arguments+=("dataset.csv_file='$CSV_FILE'")
[ -z "${DATA_ROOT:-}" ] || arguments+=("dataset.data_root='$DATA_ROOT'")
[ -z "${CHECKPOINT:-}" ] || arguments+=("trainer.resume_from='$CHECKPOINT'")
[ -z "${ENCODER_WEIGHTS:-}" ] || arguments+=("model.encoder.pretrained='$ENCODER_WEIGHTS'")
[ -z "${REGISTRATION_CHECKPOINT:-}" ] || arguments+=("registration.checkpoint='$REGISTRATION_CHECKPOINT'")

exec mammorisk-train "${arguments[@]}" "$@"
