# Of train.sh and ablations.sh: where they are, what they call, and a stage that is skipped when it is done.
cd "$(dirname "$0")/../.."
PY=${PY:-python}
OUT=${OUT:-out/tiny}
# Two devices with a thread each do more on a processor than one with two threads. A GPU does not mind.
export XLA_FLAGS="--xla_force_host_platform_device_count=2 ${XLA_FLAGS:-}"
# XLA gives its worker pool a thread a core, and its stack traces show workers that wait inside reductions. On two cores
# dmd_inter came to a standstill three times, as if none was left for the device that was waited for; with 16 it ran through.
export PJRT_NPROC=${PJRT_NPROC:-16}
# A step's arrays are allocated anew each time: in pages of 2 MB that is a hundredth of the page faults, 8 % of a step.
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}
OPTIONS=("$@")
STUDENT=(data.path="$OUT/data")
PAIRS="$OUT/pairs"
TEACHER="$OUT/teacher_memory/model"
started=$SECONDS
say() { echo "[$((SECONDS - started)) s] $*"; }

# stage RECIPE WORKDIR [FIELD=VALUE …]
stage() {
    local recipe=$1 workdir=$2; shift 2
    if [ -d "$workdir/model" ]; then say "$workdir: done"; return; fi
    say "$workdir"
    $PY -m shotstream_jax.train --config "configs/$recipe.py:tiny" --workdir "$workdir" "${@/#/--config.}" ${OPTIONS[@]+"${OPTIONS[@]}"}
    [ -d "$workdir/model" ] || { say "$workdir: stopped; the same command goes on"; exit 1; }
}
