#!/usr/bin/env bash
# Kills, freezes and cuts off what serves a stream on the local cluster, and prints what each
# fault cost. Takes more than an hour: every fault 20 times, in real time.
#
#   e2e/faults.sh [--runs N] [FAULT...]
source "$(dirname "${BASH_SOURCE[0]}")/preamble.sh"

prepare
take_turn "make faults"
bring_up
clear_away
say "images"
e2e/images.sh
exec "$target/livepeer-e2e" faults "$@"
