#!/usr/bin/env bash
# An experiment on a TPU slice of Google Cloud, from a queued request to its end:
#
#   launch/tpu/pod.sh NAME --zone=us-east5-b --type=v6e-16 --version=v2-alpha-tpuv6e [OPTIONS] -- \
#       experiments.classification.supervised --runs=/mnt/shared/runs
#
# It requests the slice (a queued resource), waits, copies the commit that is checked out, installs it, and runs the
# experiment on all workers, which jax connects by the metadata of the TPU. It restarts after 75, 134, 143 and 137,
# requests a new slice after a preemption, stops at an error of the program, and deletes the slice at the end. Run
# folders must be on a disk that all workers see and that outlives the slice: mount one with --setup.
#
# OPTIONS
#   --spot            capacity that can be taken away at any time
#   --project=P       gcloud's own by default
#   --setup=COMMAND   on every worker, before anything else: mount a disk, copy data, install a newer Python
#   --python=NAME     on the workers (python3); 3.11 or later is needed
#   --restarts=N      how often it may restart (20)
#   --keep            do not delete the slice at the end
#   --dry-run         print the commands of a run without failures, and execute none
#
# Not run, for lack of a TPU. Tested with a script in place of gcloud, and against the help of gcloud 528.
set -uo pipefail

name='' zone='' type='' version='' project='' spot='' setup='' python=python3 restarts=20 keep='' dry=''
say() { echo "[launch] $*" >&2; }
die() { say "$*"; exit 2; }

while (( $# )); do
  case $1 in
    --zone=* | --type=* | --version=* | --project=* | --setup=* | --python=* | --restarts=*)
      option=${1#--}
      printf -v "${option%%=*}" '%s' "${option#*=}" ;;
    --spot) spot=yes ;;
    --keep) keep=yes ;;
    --dry-run) dry=yes ;;
    --) shift; break ;;
    -*) die "unknown option $1; see the head of $0" ;;
    *) [[ -z $name ]] || die "one name is enough: $name, $1"
       name=$1 ;;
  esac
  shift
done
for needed in name zone type version; do
  [[ -n ${!needed} ]] || die "$needed is missing: $0 NAME --zone=Z --type=T --version=V -- experiments.TOPIC.NAME ..."
done
[[ $name =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] || die "NAME=$name must be small letters, digits and '-', a letter first"
[[ $restarts =~ ^[0-9]+$ ]] || die "--restarts=$restarts must be a number"
(( $# )) || die "nothing to run: end with -- experiments.TOPIC.NAME and its flags"

where=("--zone=$zone")
[[ -z $project ]] || where+=("--project=$project")

quoted() {   # words as a shell reads them
  local word
  for word in "$@"; do
    if [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then printf '%s ' "$word"; else printf '%s ' "${word@Q}"; fi
  done
}
run() {      # run a command, or print it
  if [[ -n $dry ]]; then quoted "$@"; echo; else "$@"; fi
}
tpu() { run gcloud compute tpus "$@" "${where[@]}"; }
on_all() { tpu tpu-vm ssh "$name" --worker=all --command="$1"; }

state() {
  if [[ -n $dry ]]; then echo ACTIVE; return; fi
  gcloud compute tpus queued-resources describe "$name" "${where[@]}" --format='value(state.state)' 2>/dev/null || echo NONE
}

delete() { tpu queued-resources delete "$name" --force --quiet; }

obtain() {   # a slice that is ready; one that is there already is used
  local now
  while now=$(state); [[ $now != ACTIVE || -n $dry ]]; do
    case $now in
      NONE | ACTIVE)
        tpu queued-resources create "$name" --node-id="$name" --accelerator-type="$type" \
          --runtime-version="$version" ${spot:+--spot} || return
        [[ -z $dry ]] || return 0 ;;
      FAILED | SUSPENDED) say "the request is $now: asked for again"; delete || return ;;
      *) say "the request is $now"; sleep "${POLL:-30}" ;;
    esac
  done
}

prepare() {  # the commit that is checked out, on all workers
  run git archive --format=tar.gz --output="$scratch/dlcore.tar.gz" HEAD || return
  tpu tpu-vm scp "$scratch/dlcore.tar.gz" "$name:" --worker=all || return
  on_all "${setup:+$setup && }mkdir -p dlcore && tar -xzf dlcore.tar.gz -C dlcore && cd dlcore && \
$python -m venv .venv && .venv/bin/pip install --quiet -e '.[tpu]' -c constraints.txt"
}

judge() {    # the status of the whole from what each worker said: gcloud ends with that of one
  local one
  status=0
  (( $# )) || status=75
  for one in "$@"; do
    case $one in
      0) ;;
      75 | 134 | 137 | 143) status=75 ;;
      *) status=$one; return ;;
    esac
  done
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
command="cd dlcore && PYTHONUNBUFFERED=1 .venv/bin/python -m $(quoted "$@")--distributed=on; echo \"[status] \$?\""
ready=''
for (( attempt = 0; attempt <= restarts; attempt++ )); do
  if [[ -z $ready || $(state) != ACTIVE ]]; then
    obtain || { say "the slice could not be had"; exit 1; }
    status=1
    if ! prepare; then
      [[ $(state) != ACTIVE ]] && continue   # it was taken away meanwhile
      say "the workers could not be made ready"
      break
    fi
    ready=yes
  fi
  on_all "$command" 2>&1 | tee "$scratch/log"
  [[ -z $dry ]] || { status=0; break; }
  mapfile -t said < <(sed -n 's/.*\[status\] \([0-9][0-9]*\)$/\1/p' "$scratch/log")
  judge "${said[@]}"
  say "attempt $(( attempt + 1 )): the workers ended with ${said[*]:-no status}"
  (( status == 75 )) || break
done
(( status != 75 )) || say "not run again: it has started again $restarts times"
[[ -n $keep ]] || delete
exit "$status"
