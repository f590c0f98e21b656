#!/usr/bin/env bash
# Two ways from the shipped teacher to a few-step student, at equal cost (docs/lab/2026-11-27-consistency.md):
#   a  pairs of the teacher, ode_init                          (the paper's)
#   b  autoregressive teacher, consistency distillation        (no pairs)
# then the same short distribution matching for both, scored before and after on $STORIES stories that nothing was trained on.
#
#   examples/tiny/second_recipe.sh             # PY=… names another Python; OUT=… its folder
#
# Steps are few, so that both cost about 20 TFLOP by train/flops, ten minutes of a processor; SCALE=4 makes four times as many.
# A step that is done is skipped, one that was interrupted goes on where it stopped.
set -euo pipefail
OUT=${OUT:-out/second_recipe}
STORIES=${STORIES:-100}
SCALE=${SCALE:-1}
source "$(dirname "$0")/stages.sh"
TEACHER=tiny-teacher
QUIET=(run.held_out_batches=2 run.sample_every=0)
SHORT=(optim.warmup_steps=20 "${QUIET[@]}")

if [ ! -f "$OUT/world/clips.csv" ]; then
    say "drawing 2000 stories"
    $PY -m shotstream_jax.world --out "$OUT/world" --stories 2000 --subset simple --size 32x48 --fps 8 --lengths 11 --pairs 0.5
fi
if [ ! -f "$OUT/data/dataset.json" ]; then
    say "encoding pictures and prompts"
    $PY -m shotstream_jax.precompute --config precompute:tiny --config.checkpoint="$TEACHER" --csv "$OUT/world/clips.csv" \
        --out "$OUT/data"
fi

if [ ! -f "$PAIRS/pairs.json" ]; then
    say "a: the teacher's trajectories"
    $PY -m shotstream_jax.train.ode_pairs --config ode_init:tiny --config.start.checkpoint="$TEACHER" \
        --config.data.path="$OUT/data" --config.pairs.path="$PAIRS" --config.pairs.count=$((80 * SCALE))
fi
stage ode_init "$OUT/a/student" start.checkpoint="$TEACHER" "${STUDENT[@]}" pairs.path="$PAIRS" pairs.count=$((80 * SCALE)) \
    run.steps=$((130 * SCALE)) run.save_every=40 run.held_out_every=65 "${SHORT[@]}"

stage causal_teacher "$OUT/b/causal_teacher" start.checkpoint="$TEACHER" "${STUDENT[@]}" run.steps=$((130 * SCALE)) \
    run.save_every=40 run.held_out_every=65 trained.ema=0.95 "${SHORT[@]}"
stage consistency "$OUT/b/student" start.checkpoint="$OUT/b/causal_teacher/model" "${STUDENT[@]}" run.steps=$((144 * SCALE)) \
    run.save_every=48 run.held_out_every=72 trained.ema=0.9 "${SHORT[@]}"

for way in a b; do
    stage dmd_short "$OUT/$way/dmd" start.checkpoint="$OUT/$way/student/model" teacher="$TEACHER" "${STUDENT[@]}" run.save_every=30 \
        run.held_out_every=0 "${QUIET[@]}"
    for student in student dmd; do
        score="$OUT/$way.$student.json"
        [ -f "$score" ] || $PY -m shotstream_jax.eval --config tiny --config.checkpoint="$OUT/$way/$student/model" \
            --stories "$STORIES" --out "$score" --sheet "${score%.json}.png"
    done
done
$PY -m shotstream_jax.eval.compare "$OUT"/{a,b}.{student,dmd}.json
