#!/usr/bin/env bash
# Trains the miniature, all of it, on the drawn world: autoencoder, teacher and text encoder, causal student, and the two
# distillations. The result is $OUT/dmd_inter/model, and a story of it $OUT/story.mp4.
#
#   examples/tiny/train.sh                    # `make train-tiny`; PY=… names another Python
#   OUT=runs/tiny STORIES=6000 examples/tiny/train.sh
#
# A step that is done is skipped, one that was interrupted goes on where it stopped. Options are given to every run of
# shotstream_jax.train: --config.run.dtype=bfloat16 on a GPU; --config.run.precision=bfloat16 on a processor with AMX
# (docs/training.md, the end).
set -euo pipefail
STORIES=${STORIES:-4000}
source "$(dirname "$0")/stages.sh"

stage autoencoder "$OUT/autoencoder"
if [ ! -f "$OUT/world/clips.csv" ]; then
    say "drawing $STORIES stories"
    # Shots of two are the hardest, so they come twice as often as in the stories that the models are scored on.
    $PY -m shotstream_jax.world --out "$OUT/world" --stories "$STORIES" --subset simple --size 32x48 --fps 8 --lengths 11 \
        --pairs 0.5
fi
if [ ! -f "$OUT/latents/dataset.json" ]; then
    say "encoding the pictures"
    $PY -m shotstream_jax.precompute --config precompute:tiny --config.checkpoint="$OUT/autoencoder/model" \
        --csv "$OUT/world/clips.csv" --out "$OUT/latents"
fi
stage teacher "$OUT/teacher" start.checkpoint="$OUT/autoencoder/model" data.path="$OUT/latents"
if [ ! -f "$OUT/data/dataset.json" ]; then
    say "encoding the prompts as the teacher reads them"
    $PY -m shotstream_jax.precompute --config precompute:tiny --config.checkpoint="$OUT/teacher/model" \
        --latents-from "$OUT/latents" --out "$OUT/data"
fi
stage teacher_memory "$OUT/teacher_memory" start.checkpoint="$OUT/teacher/model" data.path="$OUT/data"
if [ ! -f "$PAIRS/pairs.json" ]; then
    say "the teacher's trajectories"
    $PY -m shotstream_jax.train.ode_pairs --config ode_init:tiny --config.start.checkpoint="$TEACHER" \
        --config.data.path="$OUT/data" --config.pairs.path="$PAIRS"
fi
stage ode_init "$OUT/ode_init" start.checkpoint="$TEACHER" "${STUDENT[@]}" pairs.path="$PAIRS"
stage dmd_intra "$OUT/dmd_intra" start.checkpoint="$OUT/ode_init/model" teacher="$TEACHER" "${STUDENT[@]}"
stage dmd_inter "$OUT/dmd_inter" start.checkpoint="$OUT/dmd_intra/model" teacher="$TEACHER" "${STUDENT[@]}"
if [ ! -f "$OUT/story.mp4" ]; then
    say "a story"
    $PY -m shotstream_jax.generate --checkpoint "$OUT/dmd_inter/model" --story examples/tiny/story.json \
        --out "$OUT/story.mp4" --report "$OUT/story.json"
fi
$PY -m benchmarks.quality.losses "$OUT"/{autoencoder,teacher,teacher_memory,ode_init,dmd_intra,dmd_inter}
say "done: $OUT/dmd_inter/model, $OUT/story.mp4"
