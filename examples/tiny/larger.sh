#!/usr/bin/env bash
# Trains the larger miniature: 64×96 pixels of the world's `large` subset, with a teacher that is told what each cell shows.
# Steps and folders are those of train.sh; what differs from the recipes is written here.
#
#   examples/tiny/larger.sh                    # OUT=… its folder, PY=… another Python, STORIES=… how many are drawn
#
# A step that is done is skipped, one that was interrupted goes on where it stopped.
set -euo pipefail
OUT=${OUT:-out/tiny-64x96}
STORIES=${STORIES:-4000}
source "$(dirname "$0")/stages.sh"
SIZE=(config.video.height=64 config.video.width=96)
SIZE=("${SIZE[@]/#/--}")
TRUTH=(truth.weight=0.5 truth.layer=3)

if [ ! -d "$OUT/start" ]; then
    $PY -m shotstream_jax.train.fresh --preset tiny-64x96 --out "$OUT/start"
fi
if [ ! -d "$OUT/autoencoder/model" ]; then
    say "$OUT/autoencoder"
    $PY -m shotstream_jax.train --config configs/autoencoder.py:tiny-64x96 --workdir "$OUT/autoencoder" \
        --config.start.checkpoint="$OUT/start"
fi
if [ ! -f "$OUT/world/clips.csv" ]; then
    say "drawing $STORIES stories"
    $PY -m shotstream_jax.world --out "$OUT/world" --stories "$STORIES" --subset large --size 64x96 --fps 8 --lengths 11 \
        --pairs 0.5
fi
if [ ! -f "$OUT/latents/dataset.json" ]; then
    say "encoding the pictures"
    $PY -m shotstream_jax.precompute --config precompute:tiny --config.checkpoint="$OUT/autoencoder/model" "${SIZE[@]}" \
        --csv "$OUT/world/clips.csv" --out "$OUT/latents"
fi
# The text encoder learns in this stage, so noise levels weigh as in the paper: words show at all of them.
stage teacher "$OUT/teacher" start.checkpoint="$OUT/autoencoder/model" data.path="$OUT/latents" "${TRUTH[@]}"
if [ ! -f "$OUT/data/dataset.json" ]; then
    say "encoding the prompts as the teacher reads them"
    $PY -m shotstream_jax.precompute --config precompute:tiny --config.checkpoint="$OUT/teacher/model" "${SIZE[@]}" \
        --latents-from "$OUT/latents" --out "$OUT/data"
fi
stage teacher_memory "$OUT/teacher_memory" start.checkpoint="$OUT/teacher/model" data.path="$OUT/data" "${TRUTH[@]}"
stage causal_teacher "$OUT/causal_teacher" start.checkpoint="$TEACHER" "${STUDENT[@]}"
stage consistency "$OUT/consistency" start.checkpoint="$OUT/causal_teacher/model" "${STUDENT[@]}"
stage dmd_short "$OUT/dmd_short" start.checkpoint="$OUT/consistency/model" teacher="$TEACHER" "${STUDENT[@]}"
say "done: $OUT/dmd_short/model"
