#!/usr/bin/env bash
# launch/gke_pod.sh COMMAND…: one pod of launch/gke_jobset.yaml. Runs the command with --distributed.
#
# Kubernetes sends SIGTERM before it takes a node away. A run then saves and ends with 0, which would count as done: the
# exit code is 42 in its place, for which the JobSet starts all pods again. Any other code is the command's.
set -uo pipefail
(($# > 0)) || {
  echo "error: the command is missing" >&2
  exit 2
}

"$@" --distributed &
run=$!
asked=0
trap 'asked=$((asked + 1)); kill -TERM "$run"' TERM

while
  before=$asked
  wait "$run"
  code=$?
  ((asked > before)) # a signal has ended the wait, perhaps not the run
do :; done
if ((asked && code == 0)); then
  echo "saved; to be started again"
  exit 42
fi
exit "$code"
