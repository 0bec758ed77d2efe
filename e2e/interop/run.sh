#!/usr/bin/env bash
# Builds our programs and runs those of the node together with go-livepeer's.
# usage: run.sh FOLDER_OF_LIVEPEER [--only NAME]... [--light] [--captures FOLDER] [--folder FOLDER]
# FOLDER_OF_LIVEPEER holds a `livepeer` of go-livepeer v0.9.1. Exit 1 when a combination fails.
set -euo pipefail
theirs=$(realpath "${1:?folder of the livepeer program}"); shift
source "$(dirname "${BASH_SOURCE[0]}")/../preamble.sh"
build_programs
exec "$target/livepeer-interop" "$theirs" "$target" "$@"
