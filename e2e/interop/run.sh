#!/usr/bin/env bash
# Builds our two node programs and runs them together with real go-livepeer's.
# usage: run.sh FOLDER_OF_LIVEPEER [--only NAME]... [--light] [--captures FOLDER] [--folder FOLDER]
# FOLDER_OF_LIVEPEER holds a `livepeer` of go-livepeer v0.9.1. Exit 1 when a combination fails.
set -euo pipefail
theirs=$(realpath "${1:?folder of the livepeer program}"); shift
cd "$(dirname "$0")/../.."
cargo build --quiet --locked -p livepeer-node -p livepeer-engine -p livepeer-e2e --bins
ours=${CARGO_TARGET_DIR:-target}/debug
exec "$ours/livepeer-interop" "$theirs" "$ours" "$@"
