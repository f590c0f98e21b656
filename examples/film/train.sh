#!/usr/bin/env bash
# All four stages at tiny size on the film in this folder, then a story from the result: out/film/story.mp4.
# An interrupted run goes on where it stopped. `make film` calls this; PY=… names another Python.
set -euo pipefail
cd "$(dirname "$0")/../.."
PY=${PY:-python}
OUT=out/film
started=$SECONDS
say() { echo "[$((SECONDS - started)) s] $*"; }

say "encoding the clips"
[ -f $OUT/data/dataset.json ] || $PY -m shotstream_jax.precompute --csv examples/film/clips.csv --out $OUT/data
say "stage 1: teacher"
$PY -m shotstream_jax.train --config film:teacher --workdir $OUT/teacher
say "the teacher's trajectories"
$PY -m shotstream_jax.train.ode_pairs --config film:ode_init
say "stage 2: causal initialisation"
$PY -m shotstream_jax.train --config film:ode_init --workdir $OUT/ode_init
say "stage 3: distribution matching within a shot"
$PY -m shotstream_jax.train --config film:dmd_intra --workdir $OUT/dmd_intra
say "stage 4: distribution matching between shots"
$PY -m shotstream_jax.train --config film:dmd_inter --workdir $OUT/dmd_inter
say "the public file, and a story"
rm -f $OUT/student.pt
$PY -m shotstream_jax.convert export $OUT/dmd_inter/model --out $OUT/student.pt
$PY -m shotstream_jax.generate --checkpoint $OUT/dmd_inter/model --overwrite --story examples/film/shots_1_to_3.json \
    --config.video.shot_frames=6 --out $OUT/story.mp4 --report $OUT/story.json
$PY -m benchmarks.quality.losses $OUT/teacher $OUT/ode_init $OUT/dmd_intra $OUT/dmd_inter
say "done: $OUT/story.mp4"
