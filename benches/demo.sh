#!/bin/sh
# Brings a card home to two places, proves it, and asks the manifests: the main job, on real files.
#   benches/demo.sh [CARD]     without a folder a small card of real JPEG and video files is made first
# Everything happens in demo/; what an earlier demo left there is removed, and nothing else.
set -eu
bin=${VENV:-.venv}/bin
card=${1:-}
mkdir -p demo
case "$(realpath "${card:-/}")/" in
"$(realpath demo)/archive/"* | "$(realpath demo)/backup/"* | "$(realpath demo)/journal/"*)
    echo "demo/archive, demo/backup and demo/journal are made anew by every demo: copy $card elsewhere first" >&2
    exit 2
    ;;
esac
rm -rf demo/archive demo/backup demo/journal
mkdir demo/archive demo/backup
export INGEST_HOME="$PWD/demo/journal"
if [ -z "$card" ]; then
    card=demo/EOS_DIGITAL
    [ -e "$card" ] || "$bin/python" benches/demo_card.py "$card"
fi
run() {
    printf '\n$ %s\n' "$*"
    "$bin/$@"
}
run ingest copy "$card" demo/archive --also demo/backup
run ingest copy "$card" demo/archive --also demo/backup
run ingest verify demo/archive demo/backup
run ingest query "SELECT kind, count(*) AS files, sum(size) AS bytes, min(verify_method) AS proof FROM copies WHERE state = 'finalized' GROUP BY kind ORDER BY kind" --root demo/archive
