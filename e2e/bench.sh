#!/usr/bin/env bash
# The transcoding benchmark: the engine against one ffmpeg, in alternating runs. What is compared
# and how is in node/engine/benches/transcode.
#
#   e2e/bench.sh [--runs N]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

e2e/setup/packages.sh
exec cargo bench --locked --package livepeer-engine --bench transcode -- "$@"
