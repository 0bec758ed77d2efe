#!/usr/bin/env bash
# The transcoding benchmark: the engine against one ffmpeg, in alternating runs. What is compared
# and how is in node/engine/benches/transcode.
#
#   e2e/bench.sh [--runs N]
source "$(dirname "${BASH_SOURCE[0]}")/preamble.sh"

e2e/setup/packages.sh
exec cargo bench --locked --package livepeer-engine --bench transcode -- "$@"
