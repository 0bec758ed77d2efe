#!/usr/bin/env bash
# The whole path on this machine: local Kubernetes, both images, the operator by Helm, the
# smallest network, a clip through its pods. Leaves the cluster up; `make demo-down` removes it.
source "$(dirname "${BASH_SOURCE[0]}")/preamble.sh"

prepare
take_turn "make demo"
bring_up
clear_away
say "images"
e2e/images.sh
say "the demo"
"$target/livepeer-e2e" demo --out "${CARGO_TARGET_DIR:-target}/demo"
