#!/usr/bin/env bash
# Plays the demo's stream on the gateway's page in headless Chromium.
#
#   e2e/page.sh [GATEWAY [STREAM]]     default: what `make demo` pushed
source "$(dirname "${BASH_SOURCE[0]}")/preamble.sh"

gateway=${1:-http://127.0.0.1:9935} stream=${2:-demo}
for program in chromium chromedriver; do
    command -v "$program" > /dev/null && continue
    echo "page: installing chromium and chromium-driver" >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q=2
    apt-get install -q=2 -y --no-install-recommends chromium chromium-driver > /dev/null
    break
done
out=${CARGO_TARGET_DIR:-target}/demo/page.png
mkdir -p "$(dirname "$out")"
node e2e/page/play.mjs "$gateway" "$stream" "$out"
echo "page: $out"
