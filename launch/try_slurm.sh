#!/usr/bin/env bash
# launch/try_slurm.sh [DIR]: launch/slurm.sbatch under a real SLURM, on this machine alone; minutes.
#
# Starts munge and SLURM of its own in DIR (default: a temporary folder), with one node of two GPUs that are not there,
# and ends them. Then, with launch/slurm.sbatch and two tasks on the processor:
#   1. an undisturbed run,
#   2. the same run, which SLURM asks to stop before its time is over: it saves, goes back into the queue, goes on,
# and compares what the two have learned and logged, to the last bit. Exit code 0 if they are equal.
#
# Needs Debian's packages slurm-wlm and munge, no systemd and no root; without them it says so, and the exit code is 0.
#
#   PY=python    the Python that has shotstream_jax
#   STEPS=300    of a run; two thirds of them must take longer than SLURM's half minute between two looks at the clock
set -euo pipefail
PY=${PY:-python}
STEPS=${STEPS:-300}
root=$(cd "$(dirname "$0")/.." && pwd)

for needed in sbatch slurmctld slurmd munged; do
  PATH=$PATH:/usr/sbin command -v "$needed" >/dev/null || {
    echo "skipped: no SLURM here ($needed is missing)"
    exit 0
  }
done
export PATH=$PATH:/usr/sbin

folder=${1:-$(mktemp -d)}
mkdir -p "$folder"/{munge,state,spool,runs}
folder=$(cd "$folder" && pwd)
chmod 700 "$folder" "$folder/munge"
started=$SECONDS
say() { echo "[$((SECONDS - started)) s] $*"; }

daemons=()
clean() {
  ((${#daemons[@]} == 0)) || kill "${daemons[@]}" 2>/dev/null || true
  wait
}
trap clean EXIT

free_port() { "$PY" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'; }

# 1. munge, by which SLURM's parts know each other: a key and a socket of our own.
head -c 1024 /dev/urandom >"$folder/munge/key"
chmod 400 "$folder/munge/key"
munged --foreground --force --key-file "$folder/munge/key" --socket "$folder/munge/socket" \
  --pid-file "$folder/munge/pid" --seed-file "$folder/munge/seed" --log-file "$folder/munge/log" \
  >"$folder/munge/output" 2>&1 &
daemons+=($!)

# 2. A cluster of this machine. A job that goes back into the queue waits for cred_expire seconds.
cat >"$folder/slurm.conf" <<CONF
ClusterName=try
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
AuthInfo=socket=$folder/munge/socket,cred_expire=10
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
NodeName=localhost NodeHostname=$(hostname) NodeAddr=127.0.0.1 CPUs=$(nproc) Gres=gpu:2
PartitionName=all Nodes=ALL Default=YES
CONF
printf "Name=gpu File=%s\n" /dev/null /dev/zero >"$folder/gres.conf" # two files that are everywhere
export SLURM_CONF=$folder/slurm.conf
for _ in {1..50}; do [[ -S "$folder/munge/socket" ]] && break || sleep 0.1; done
slurmctld -D >"$folder/slurmctld.output" 2>&1 &
daemons+=($!)
slurmd -D -N localhost >"$folder/slurmd.output" 2>&1 &
daemons+=($!)
for _ in {1..100}; do [[ $(sinfo -h -o %T 2>/dev/null) == idle ]] && break || sleep 0.2; done
say "$(sbatch --version): $(sinfo -h -o '%N is %T, %c processors, %G')"

# 3. Something to train on.
cd "$root"
export JAX_PLATFORMS=cpu
"$PY" -m shotstream_jax.precompute --csv examples/film/clips.csv --out "$folder/data" >"$folder/precompute.log" 2>&1
say "data encoded"

# Submits a run by its name; further arguments are for sbatch.
submit() {
  local name=$1
  shift
  sbatch --parsable --job-name="$name" --output="$folder/$name.log" --gpus-per-node=2 --ntasks-per-node=2 \
    --cpus-per-task=1 "$@" launch/slurm.sbatch "$PY" -m shotstream_jax.train --config film:teacher \
    --workdir "$folder/runs/$name" --config.data.path="$folder/data" --config.run.steps="$STEPS" \
    --config.run.sample_every=0 --config.run.held_out_every=0 --config.run.save_every=1000 --config.run.log_every=10
}

# Waits until a job is over, and says how it ended.
finish() {
  while [[ -n $(squeue -h -j "$1" 2>/dev/null) ]]; do sleep 1; done
  scontrol show job "$1" | grep -o 'JobState=[A-Z]*\|Restarts=[0-9]*\|ExitCode=[0-9:]*' | paste -sd' '
}

# Waits until a line of a job's file says so: wait_for JOB TEXT FILE.
wait_for() {
  until grep -qs -- "$2" "$3"; do
    [[ -n $(squeue -h -j "$1" 2>/dev/null) ]] || {
      echo "error: the job was over before '$2' was in $3; a run that is too short wants more STEPS" >&2
      exit 1
    }
    sleep 0.5
  done
}

# 4. The undisturbed run.
say "undisturbed: $(finish "$(submit undisturbed)")"

# 5. The run that is stopped. When a third is done, so little time is left to it that SLURM gives it its warning, two
#    minutes before the end. It has its hour again when it is back in the queue.
job=$(submit stopped --time=60 --signal=B:TERM@120)
wait_for "$job" "\"step\": $((STEPS / 3))," "$folder/runs/stopped/metrics.jsonl"
passed=$(squeue -h -j "$job" -o %M | cut -d: -f1) # minutes
scontrol update "JobId=$job" "TimeLimit=$((10#$passed + 3))"
say "stopped: a third is done, $(squeue -h -j "$job" -o %L) minutes are left"
wait_for "$job" "back into the queue" "$folder/stopped.log"
until scontrol update "JobId=$job" TimeLimit=60 2>/dev/null; do sleep 0.5; done
say "stopped: $(finish "$job")"
grep -h "asked to stop\|back into the queue\|going on after" "$folder/stopped.log" | sort -u

# 6. Both have learned and logged the same.
"$PY" - "$folder/runs" <<'PYTHON'
import json
import pathlib
import sys

import jax
import numpy as np

from shotstream_jax.checkpoint.checkpoint import open_checkpoint

runs = [pathlib.Path(sys.argv[1]) / name for name in ("undisturbed", "stopped")]
losses = []
for run in runs:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses.append([(row["step"], row["loss"]) for row in rows])
assert losses[0] == losses[1], "the runs' losses differ"
one, other = [open_checkpoint(run / "model").load_params("dit") for run in runs]
jax.tree.map(np.testing.assert_array_equal, one, other)
print(f"equal to the last bit: {len(losses[0])} losses, {len(jax.tree.leaves(one))} parameters")
PYTHON
say "done"
