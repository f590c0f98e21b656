#!/usr/bin/env bash
# launch/tpu_pod.sh ACTION: a Cloud TPU slice, and one command on all of its machines.
#
# No Cloud TPU has seen it: its calls are tested with a stand-in for gcloud, whose machines are folders
# (tests/tpu_pod_test.py). Read it before you use it.
#
#   export NAME=shots ZONE=us-east5-a TYPE=v5p-64 SHARE=10.0.0.2:/runs
#   launch/tpu_pod.sh create       # makes the slice; where there is no capacity, queue waits for it
#   launch/tpu_pod.sh install      # this git commit and its dependencies, and the share, on all machines
#   launch/tpu_pod.sh run shotstream train --config teacher:wan-1.3b --workdir /share/teacher
#   launch/tpu_pod.sh watch        # what machine 0 prints
#   launch/tpu_pod.sh stop         # SIGTERM to all: they save at the same step, and end
#   launch/tpu_pod.sh delete
#
# `run` starts the command with --distributed on every machine (JAX finds the others of a slice by itself), with the
# XLA flags of the slice's generation (launch/tpu_flags.sh), and does not end with the ssh connection. If it cannot be
# started everywhere, it is stopped everywhere. Where a run is going on none is started. After a preemption delete the slice, make it again, `install`, and `run` the same
# command: it goes on from the newest snapshot. Another TYPE does too, a run is not bound to a number of devices.
#
#   NAME ZONE TYPE   of the slice; `gcloud compute tpus accelerator-types list --zone ZONE` lists the types
#   LIBTPU_INIT_ARGS  other XLA flags than those of tpu_flags.sh
#   VERSION          the machines' image (default: v2-alpha-tpuv5)
#   SPOT=1           cheaper, and may be taken away at any time
#   SHARE            an NFS export (Filestore), mounted as /share. Work folder, data and checkpoints must lie there:
#                    every machine writes its part of a snapshot, and reads its rows of a batch
set -euo pipefail

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; }

fail() {
  echo "error: $*" >&2
  exit 2
}

# Runs a line of shell on all machines of the slice, or on those that $2 names.
everywhere() {
  gcloud compute tpus tpu-vm ssh "$NAME" --zone "$ZONE" --worker "${2:-all}" --command "$1"
}

create() {
  gcloud compute tpus tpu-vm create "$NAME" --zone "$ZONE" --accelerator-type "$TYPE" --version "$VERSION" \
    ${SPOT:+--spot}
}

# Waits in Google's queue; the slice has the queue entry's name.
queue() {
  gcloud compute tpus queued-resources create "$NAME" --node-id "$NAME" --zone "$ZONE" \
    --accelerator-type "$TYPE" --runtime-version "$VERSION" ${SPOT:+--spot}
  gcloud compute tpus queued-resources list --zone "$ZONE" --filter "name:$NAME"
}

delete() {
  gcloud compute tpus queued-resources delete "$NAME" --zone "$ZONE" --force --quiet 2>/dev/null ||
    gcloud compute tpus tpu-vm delete "$NAME" --zone "$ZONE" --quiet
}

install() {
  folder=$(mktemp -d)
  trap 'rm -r "$folder"' EXIT
  [[ -z "$(git status --porcelain)" ]] || echo "note: changes that are not committed are not installed" >&2
  git archive --format tar.gz --output "$folder/shotstream.tar.gz" HEAD
  gcloud compute tpus tpu-vm scp "$folder/shotstream.tar.gz" "$NAME:shotstream.tar.gz" --zone "$ZONE" --worker all
  everywhere "set -e
    mkdir -p shotstream && tar -xzf shotstream.tar.gz -C shotstream
    python3 -m venv shotstream/.venv
    shotstream/.venv/bin/pip install --quiet --upgrade pip
    shotstream/.venv/bin/pip install --quiet -e 'shotstream[tpu]'"
  if [[ -n "${SHARE:-}" ]]; then
    everywhere "set -e
      sudo apt-get install -qq -y nfs-common
      sudo mkdir -p /share
      mountpoint -q /share || sudo mount -t nfs $(printf %q "$SHARE") /share"
  fi
}

# The command in the background of every machine: its output in run.log, its process number in run.pid.
run() {
  (($# > 0)) || fail "run needs a command (--help says more)"
  local command flags
  command=$(printf '%q ' "$@" --distributed)
  flags=${LIBTPU_INIT_ARGS-$(launch/tpu_flags.sh "$TYPE")}
  # Nothing is started before no machine has a run.
  everywhere "cd shotstream || exit 1
    if [ -f run.pid ] && kill -0 \$(cat run.pid) 2>/dev/null; then echo 'a run is going on' >&2; exit 1; fi
    rm -f run.pid"
  if ! everywhere "cd shotstream || exit 1
    export LIBTPU_INIT_ARGS=$(printf %q "$flags")
    PATH=\$PWD/.venv/bin:\$PATH nohup $command >run.log 2>&1 </dev/null &
    echo \$! >run.pid"; then
    echo "error: not started on all machines: stopping it on the others" >&2
    stop || true
    exit 1
  fi
  watch
}

# Until the run on machine 0 is over; ^C ends the watching, not the run.
watch() { everywhere "cd shotstream && tail -n 50 -F --pid=\$(cat run.pid) run.log" 0; }

stop() { everywhere "[ ! -f shotstream/run.pid ] || kill -TERM \$(cat shotstream/run.pid)"; }

case "${1:-}" in
  -h | --help)
    usage
    exit 0
    ;;
  create | queue | install | run | watch | stop | delete) ;;
  *) fail "the first argument is create, queue, install, run, watch, stop or delete (--help says more)" ;;
esac
for needed in NAME ZONE; do [[ -n "${!needed:-}" ]] || fail "the variable $needed is missing (--help says more)"; done
case "$1" in
  create | queue | run) [[ -n "${TYPE:-}" ]] || fail "the variable TYPE is missing (--help says more)" ;;
esac
command -v gcloud >/dev/null || fail "gcloud is not installed: cloud.google.com/sdk"
VERSION=${VERSION:-v2-alpha-tpuv5}
cd "$(dirname "$0")/.."
"$@"
