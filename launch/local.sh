#!/usr/bin/env bash
# launch/local.sh N COMMAND… runs N processes of one training run on this machine.
#
#   launch/local.sh 2 shotstream train --config teacher:tiny --workdir runs/teacher
#
# Each process gets --distributed 127.0.0.1:PORT,N,I at the end of the command. Process 0 writes to the terminal, the
# others to files that are shown when one of them fails. SIGTERM goes to all of them, so they save and end together. So
# does Ctrl-C, and the exit code is then 130; a second Ctrl-C stops them at once. If one fails, the others are ended,
# and its exit code is this one's.
#
#   DEVICES=4    CPU tries: every process has 4 devices that are not there (XLA_FLAGS)
#   PORT=29400   where process 0 waits for the others; a free one is chosen without it
#   LOGS=DIR     where the others' output goes; a temporary folder, removed at the end, without it
#   GRACE=20     seconds from a failure, or from a second Ctrl-C, to SIGKILL
#
# On a machine with GPUs one process uses them all: this script is for tries on a CPU. Two machines or more:
# launch/slurm.sbatch, launch/tpu_pod.sh.
set -uo pipefail

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; }

fail() {
  echo "error: $*" >&2
  exit 2
}

case "${1:-}" in
  -h | --help)
    usage
    exit 0
    ;;
esac
[[ "${1:-}" =~ ^[1-9][0-9]*$ ]] || fail "the first argument is the number of processes (--help says more)"
count=$1
shift
(($# > 0)) || fail "the command is missing (--help says more)"
[[ -z "${DEVICES:-}" || "$DEVICES" =~ ^[1-9][0-9]*$ ]] || fail "DEVICES=$DEVICES must be a number"

if [[ -n "${DEVICES:-}" ]]; then
  export JAX_PLATFORMS=cpu
  export XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=$DEVICES"
fi

free_port() {
  local port
  for _ in {1..50}; do
    port=$((20000 + RANDOM % 12000)) # below the range that the kernel gives to outgoing connections
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port" && return; }
  done
  return 1
}

port=${PORT:-$(free_port)} || fail "no free port was found: set PORT"
logs=${LOGS:-$(mktemp -d)}
mkdir -p "$logs" || fail "cannot write $logs"

set -m # every process leads a group of its own: without that bash has it ignore SIGINT
pids=()
kill_all() {
  local pid
  for pid in "${pids[@]}"; do kill "-$1" -- "-$pid" 2>/dev/null; done
}
interrupts=0
interrupt() {
  interrupts=$((interrupts + 1))
  kill_all INT
  ((interrupts > 1)) && deadline=$((SECONDS + ${GRACE:-20}))
}
deadline=
trap 'kill_all TERM' TERM
trap interrupt INT

for ((i = 0; i < count; i++)); do
  command=("$@" --distributed "127.0.0.1:$port,$count,$i")
  if ((i == 0)); then
    "${command[@]}" &
  else
    "${command[@]}" >"$logs/process-$i.log" 2>&1 &
  fi
  pids+=($!)
done
set +m # what follows is in this script's own group again: a Ctrl-C during `sleep` reaches the trap

code=0 # of the first process that failed
codes=()
while ((${#codes[@]} < count)); do
  sleep 0.2
  for ((i = 0; i < count; i++)); do
    if [[ -n "${codes[i]:-}" ]] || kill -0 "${pids[i]}" 2>/dev/null; then continue; fi
    wait "${pids[i]}"
    codes[i]=$?
    ((codes[i] != 0 && code == 0 && interrupts == 0)) || continue # after a Ctrl-C they all end by themselves
    code=${codes[i]}
    echo "process $i of $count ended with $code: ending the others" >&2
    ((i > 0)) && tail -n 15 "$logs/process-$i.log" | sed "s/^/[$i] /" >&2
    kill_all TERM
    deadline=$((SECONDS + ${GRACE:-20}))
  done
  [[ -n "$deadline" ]] && ((SECONDS >= deadline)) && kill_all KILL
done
[[ -n "${LOGS:-}" ]] || rm -rf "$logs"
((interrupts > 0)) && exit 130
exit "$code"
