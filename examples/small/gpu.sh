#!/usr/bin/env bash
# Trains the miniature's chain at 96×144 pixels of the whole drawn world (preset `small`) on a GPU that is there for minutes only:
# in legs, each of which goes on from the files that the last one left, on any machine, days later.
#
#   examples/small/gpu.sh                      # a leg: MINUTES=8, with what is in CARRIED=out/small.carried
#   TOY=1 MINUTES=1 examples/small/gpu.sh      # the same at toy size, on a processor
#
# A leg unpacks $CARRIED if there is no $OUT, draws and encodes its stories (again; they are the same to the last bit of every picture),
# trains until its minutes are over, and packs what the next one needs into files of at most 16 MB in $CARRIED. Stages that are done are
# skipped. OUT=… PY=… STORIES=…; options are given to every run of shotstream_jax.train.
#
# A leg on a lent machine without a network that gives back at most 8 files of 16 MB from its folder $OUT, 64 MiB in all (Python 3.12 with
# jax, flax, optax and orbax; in .whl wheels of ml_collections, grain, array_record, beartype, tensorboardX, ftfy, wcwidth and portpicker,
# 6 MB), limited to 600 seconds; out/small.carried and .whl travel with the clone:
#
#   python3 -m pip install -q --no-index --no-deps --target /tmp/site .whl/*.whl && export PYTHONPATH=/tmp/site PYTHONUNBUFFERED=1 ||
#       exit; mkdir -p /tmp/carried; cp out/small.carried/* /tmp/carried; BACK=$OUT;
#       OUT=/tmp/small CARRIED=/tmp/carried PY=python3 examples/small/gpu.sh && cp /tmp/carried/* "$BACK"
#
# What comes back is put into out/small.carried for the next leg. Where only 64 MiB travel there with the clone, one of shotstream_jax,
# configs and examples alone has 16 MB (git sparse-checkout), and a call before the leg may bring some of the parts:
#
#   mkdir -p /tmp/carried && cp out/small.carried/* /tmp/carried
#
# Carried are the weights (exact), their average in 16 bits and the models that the stage still needs: 65 MB for the teacher by its sizes.
# The optimiser's moments are left out (MOMENTS=exact keeps them: 60 MB more) and gathered again within some dozens of steps.
#
# Legs at an H100's expected rate, 20 steps/s (never measured; the log tells): autoencoder 2, teacher and teacher_memory 2 each, the other
# three 1 together. Other steps or rates are chosen before a stage begins: the learning rate falls to 0 over STEPS.
set -euo pipefail
cd "$(dirname "$0")/../.."
PY=${PY:-python}
OUT=${OUT:-out/small}
CARRIED=${CARRIED:-out/small.carried}
MINUTES=${MINUTES:-8}
MOMENTS=${MOMENTS:-none}
TEACHER="$OUT/teacher_memory/model"
OPTIONS=("$@")

# Steps of each stage: the same from leg to leg.
declare -A STEPS=([autoencoder]=20000 [teacher]=12000 [teacher_memory]=12000 [causal_teacher]=1500 [consistency]=1500 [dmd_short]=600)
PRESET=small STORIES=${STORIES:-4000} SUBSET=full HEIGHT=96 WIDTH=144 LEAST=100
RUN=(run.batch=64 run.dtype=bfloat16 run.remat=none run.save_every=2000 run.held_out_every=1000 run.held_out_batches=4)
# Pieces longer than a shot: what was never trained on so late falls apart (docs/lab/2026-11-27-larger-miniature.md).
PIECES=(run.batch=8 data.processes=16 data.workers=16 crop_height=64 crop_width=96 data.frames=12 clip=11)
RATE=optim.lr=2e-3 # of the teacher, which is twice as wide as the miniature's
TRUTH=(truth.weight=0.5 truth.layer=3)
CLIPS=()
if [ -n "${TOY:-}" ]; then
    for stage in "${!STEPS[@]}"; do STEPS[$stage]=12; done
    PRESET=tiny STORIES=16 SUBSET=simple HEIGHT=32 WIDTH=48 LEAST=5
    RUN=(run.batch=2 run.save_every=6 run.held_out_every=0 run.log_every=2 optim.warmup_steps=2)
    CLIPS=(data.held_out=0.2)
    PIECES=(run.batch=2 data.processes=2 data.workers=2 measured=2)
fi

ORDER=(autoencoder teacher teacher_memory causal_teacher consistency dmd_short)
now=autoencoder    # the stage that is next
needed=            # the runs that the next leg needs

deadline=$((SECONDS + MINUTES * 60))
say() { echo "[$SECONDS s of $((MINUTES * 60))] $*"; }
left() { echo $((deadline - SECONDS)); }

# The leg is over: packs what the next one needs.
finish() {
    if [ -n "$needed" ]; then
        $PY -m shotstream_jax.train.carry pack "$OUT" --runs "$needed" --moments "$MOMENTS" --out "$CARRIED"
    fi
    if [ -d "$OUT/dmd_short/model" ]; then say "done: $OUT/dmd_short/model"; exit 0; fi
    say "next: $now, ${STEPS[$now]} steps in all, by the same command"
    exit 0
}

# within COMMAND …: runs it until the leg is over; SIGTERM asks a run to save and stop.
within() {
    if [ "$(left)" -lt "$LEAST" ]; then finish; fi
    local code=0
    timeout --preserve-status -s TERM -k 60 "$(left)" "$@" || code=$?
    # 143: it ended by the signal, before there was anything to save.
    if [ "$code" != 0 ] && [ "$code" != 143 ]; then exit "$code"; fi
}

# is_behind STAGE: whether it is done, here or in an earlier leg, which need not have carried its model.
is_behind() {
    local name later=
    for name in "${ORDER[@]}"; do
        if [ -n "$later" ] && [ -d "$OUT/$name" ]; then return 0; fi
        if [ "$name" = "$1" ]; then later=yes; fi
    done
    [ -d "$OUT/$1/model" ]
}

# needs STAGE BEGINS GOES_ON: what the next leg needs if this one ends here: the other runs that the stage needs to begin, or to go on.
needs() {
    now=$1
    needed=$2
    if compgen -G "$OUT/$now/checkpoints/[0-9]*" > /dev/null; then needed="${3:+$3,}$now"; fi
}

# train FIELD=VALUE …: the stage that is next.
train() {
    say "$now, ${STEPS[$now]} steps"
    within $PY -m shotstream_jax.train --config "configs/$now.py:tiny" --workdir "$OUT/$now" "${RUN[@]/#/--config.}" \
        --config.run.sample_every=0 --config.run.steps="${STEPS[$now]}" "${@/#/--config.}" ${OPTIONS[@]+"${OPTIONS[@]}"}
}

# stage NAME BEGINS GOES_ON FIELD=VALUE …: trains a stage, if it is not done.
stage() {
    local name=$1 begins=$2 goes_on=$3
    shift 3
    if is_behind "$name"; then return; fi
    needs "$name" "$begins" "$goes_on"
    train "$@"
    needs "$name" "$begins" "$goes_on"
    if [ ! -d "$OUT/$name/model" ]; then finish; fi
}

# encode FOLDER CHECKPOINT FROM …: the stories' latents, and their prompts as a checkpoint reads them.
encode() {
    local folder=$1 checkpoint=$2
    shift 2
    if [ -f "$folder/dataset.json" ]; then return; fi
    say "encoding into $folder"
    within $PY -m shotstream_jax.precompute --config precompute:tiny --config.checkpoint="$checkpoint" --config.video.height="$HEIGHT" \
        --config.video.width="$WIDTH" "$@" --out "$folder"
    if [ ! -f "$folder/dataset.json" ]; then say "the stories took all of the leg: fewer STORIES, or more MINUTES"; finish; fi
}

# 1. Where the last leg ended, and the stories of all legs.
if [ ! -d "$OUT" ] && [ -f "$CARRIED/carry.json" ]; then
    $PY -m shotstream_jax.train.carry unpack "$CARRIED" --out "$OUT"
fi
mkdir -p "$OUT"
cat > "$OUT/world.json" <<END
{"config": {"subset": "$SUBSET", "fps": 8, "shots": [2, 3, 4, 5, 6], "lengths": [11], "pairs": 0.5},
 "height": $HEIGHT, "width": $WIDTH, "stories": $STORIES, "seed": 0, "split": "train"}
END
drawn=(--world "$OUT/world.json")

# 2. The autoencoder; its shots are drawn as it needs them.
if ! is_behind autoencoder && [ ! -d "$OUT/start" ]; then
    $PY -m shotstream_jax.train.fresh --preset "$PRESET" --out "$OUT/start"
fi
stage autoencoder "" "" start.checkpoint="$OUT/start" data.subset="$SUBSET" "${PIECES[@]}"

# 3. The teacher, and its text encoder.
if ! is_behind teacher; then
    needs teacher autoencoder:vae+text autoencoder:vae+text
    encode "$OUT/latents" "$OUT/autoencoder/model" "${drawn[@]}"
fi
stage teacher autoencoder:vae+text autoencoder:vae+text start.checkpoint="$OUT/autoencoder/model" data.path="$OUT/latents" \
    "${CLIPS[@]}" "${TRUTH[@]}" "$RATE"

# 4. The others read prompts as that text encoder does; every model from here on has it.
encoders=$TEACHER
if ! is_behind teacher_memory; then
    encoders="$OUT/teacher/model"
    needs teacher_memory teacher teacher:vae+text
fi
if [ -f "$OUT/latents/dataset.json" ]; then drawn=(--latents-from "$OUT/latents"); fi
encode "$OUT/data" "$encoders" "${drawn[@]}"
DATA=(data.path="$OUT/data" "${CLIPS[@]}")
stage teacher_memory teacher teacher:vae+text start.checkpoint="$OUT/teacher/model" "${DATA[@]}" "${TRUTH[@]}"
stage causal_teacher teacher_memory teacher_memory start.checkpoint="$TEACHER" "${DATA[@]}"
stage consistency teacher_memory,causal_teacher teacher_memory,causal_teacher start.checkpoint="$OUT/causal_teacher/model" "${DATA[@]}"
stage dmd_short teacher_memory,consistency teacher_memory,consistency start.checkpoint="$OUT/consistency/model" teacher="$TEACHER" \
    "${DATA[@]}"
needed=dmd_short
finish
