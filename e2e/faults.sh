#!/usr/bin/env bash
# Kills, freezes and cuts off what serves a stream on the local cluster, and prints what each
# fault cost. Takes more than an hour: every fault 20 times, in real time.
#
#   e2e/faults.sh [--runs N] [FAULT...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}/debug
e2e/setup/packages.sh
e2e/cluster/build-tools.sh > /dev/null
cargo build --locked --workspace --bins --tests
"$target/livepeer-e2e" cluster-up
e2e/images.sh
exec "$target/livepeer-e2e" faults "$@"
