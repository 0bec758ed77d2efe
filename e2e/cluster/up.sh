#!/usr/bin/env bash
# The local Kubernetes: brings it up, or finds it up.
source "$(dirname "${BASH_SOURCE[0]}")/../preamble.sh"
prepare
bring_up
