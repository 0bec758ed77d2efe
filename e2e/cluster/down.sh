#!/usr/bin/env bash
# Removes the local Kubernetes as if it had never been. Compiles nothing, unless a cluster is
# left whose own program is not.
source "$(dirname "${BASH_SOURCE[0]}")/../preamble.sh"

state=/var/lib/livepeer-e2e
run=/run/livepeer-e2e

# The state folder is the first thing that cluster-up makes and the last that cluster-down
# removes. The others are for one that somebody has removed by hand.
is_left() {
    local trace
    for trace in $state $run /sys/fs/cgroup/livepeer-e2e /sys/fs/cgroup/*/livepeer-e2e; do
        [ ! -e "$trace" ] || return 0
    done
    return 1
}

if ! is_left; then
    say "no local Kubernetes is up: nothing to remove"
    exit
fi
# The cluster's long-lived process is a copy of the program that made it.
program=$state/keeper
[ -x $program ] || program=$target/livepeer-e2e
if ! [ -x "$program" ]; then
    say "programs (the one that takes the local Kubernetes down is not built)"
    cargo build --locked --workspace --bin livepeer-e2e
fi
say "taking the local Kubernetes down"
"$program" cluster-down
say "it is down"
