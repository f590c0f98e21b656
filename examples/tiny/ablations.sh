#!/usr/bin/env bash
# What each part of the method is worth to the miniature: after train.sh, with the same OUT. Scores on $STORIES stories of
# five shots that nothing was trained on, a table of them, and on stories of twenty shots a chart.
#
#   examples/tiny/ablations.sh               # what needs no training: an hour
#   RETRAIN=1 examples/tiny/ablations.sh     # two more students too: no shot phase; stage 3 only, for as many steps. A night
#
# A score or a stage that is done is skipped.
set -euo pipefail
STORIES=${STORIES:-100}
source "$(dirname "$0")/stages.sh"
SCORES="$OUT/scores" LONG="$OUT/scores/long" STUDIES="$OUT/ablations"

# score FILE MODEL [OPTION …]
score() {
    local file=$1 model=$2; shift 2
    if [ -f "$file" ]; then say "$file: done"; return; fi
    say "$file"
    $PY -m shotstream_jax.eval --config tiny --config.checkpoint="$model" --out "$file" "$@"
}
# without_phase MODEL: a copy whose rotary phase does not jump between shots
without_phase() {
    local copy="$STUDIES/$(basename "$(dirname "$1")")_without_phase"
    [ -d "$copy" ] || $PY -m shotstream_jax.convert copy "$1" --dtype float32 --shot-phase 0 --out "$copy" >&2
    echo "$copy"
}
mkdir -p "$STUDIES"

FULL="$OUT/dmd_inter/model"
score "$SCORES/full.json" "$FULL" --stories "$STORIES" --sheet "$SCORES/full.png"
score "$SCORES/teacher.json" "$TEACHER" --stories "$STORIES" --source teacher --guidance 1 --context-guidance 3 \
    --sampler-steps 20 --sheet "$SCORES/teacher.png"
score "$SCORES/no_global_cache.json" "$FULL" --stories "$STORIES" --context none
score "$SCORES/first_frames_only.json" "$FULL" --stories "$STORIES" --context first
score "$SCORES/another_takes_memory.json" "$FULL" --stories "$STORIES" --context other
score "$SCORES/no_phase_at_inference.json" "$(without_phase "$FULL")" --stories "$STORIES"
score "$SCORES/before_stage_4.json" "$OUT/dmd_intra/model" --stories "$STORIES"
score "$SCORES/before_stage_3.json" "$OUT/ode_init/model" --stories "$STORIES"
for context in own none; do
    score "$LONG/context_$context.json" "$FULL" --stories "$STORIES" --shots 20 --context $context
done

if [ -n "${RETRAIN:-}" ]; then
    DISTILLED=("${STUDENT[@]}" teacher="$TEACHER")
    work="$STUDIES/no_shot_phase"
    stage ode_init "$work/ode_init" start.checkpoint="$(without_phase "$TEACHER")" "${STUDENT[@]}" pairs.path="$PAIRS"
    stage dmd_intra "$work/dmd_intra" start.checkpoint="$work/ode_init/model" "${DISTILLED[@]}"
    stage dmd_inter "$work/dmd_inter" start.checkpoint="$work/dmd_intra/model" "${DISTILLED[@]}"
    score "$SCORES/no_shot_phase.json" "$work/dmd_inter/model" --stories "$STORIES"
    work="$STUDIES/stage_3_only"
    stage dmd_intra "$work/dmd_intra" start.checkpoint="$OUT/ode_init/model" "${DISTILLED[@]}" run.steps=1200
    score "$SCORES/stage_3_only.json" "$work/dmd_intra/model" --stories "$STORIES"
fi

$PY -m shotstream_jax.eval.compare "$SCORES"/*.json
$PY -m shotstream_jax.eval.compare "$LONG"/*.json --figures who,appearance,layout --chart "$SCORES/by_shot.png"
