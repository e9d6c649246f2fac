#!/bin/sh
# Brings a card home to two places, proves it, and asks the manifests: the main job, on real files.
#   benches/demo.sh [CARD]     without a folder a small card of real JPEG and video files is made first
set -eu
bin=${VENV:-.venv}/bin
card=${1:-}
rm -rf demo
mkdir -p demo/archive demo/backup
export INGEST_HOME="$PWD/demo/journal"
if [ -z "$card" ]; then
    card=demo/EOS_DIGITAL
    "$bin/python" benches/demo_card.py "$card"
fi
run() { printf '\n$ %s\n' "$*"; "$bin/$@"; }
run ingest copy "$card" demo/archive --also demo/backup
run ingest copy "$card" demo/archive --also demo/backup
run ingest verify demo/archive demo/backup
run ingest query "SELECT kind, count(*) AS files, sum(size) AS bytes, min(verify_method) AS proof FROM copies WHERE state = 'finalized' GROUP BY kind ORDER BY kind" --root demo/archive
