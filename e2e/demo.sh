#!/usr/bin/env bash
# The whole path on this machine: local Kubernetes, both images, the operator by Helm, the
# smallest network, a clip through its pods. Leaves the cluster up; `make demo-down` removes it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}/debug
say() { echo "== $*"; }

say "packages and tools (the first time: about 15 minutes on 2 cores)"
e2e/setup/packages.sh
e2e/cluster/build-tools.sh
say "programs"
cargo build --locked --workspace --bins --tests
say "the local Kubernetes"
"$target/livepeer-e2e" cluster-up
say "images"
e2e/images.sh
say "the demo"
"$target/livepeer-e2e" demo --out "${CARGO_TARGET_DIR:-target}/demo"
