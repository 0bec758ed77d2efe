#!/usr/bin/env bash
# Every check of the project, in the order in which a mistake shows soonest. The same here and
# in CI. Takes the cluster down at the end unless it was up before.
source "$(dirname "${BASH_SOURCE[0]}")/preamble.sh"

export RUST_BACKTRACE=0 # a failed test says what it waited for; frames of the runtime hide that
began=$SECONDS

# step NAME COMMAND...: runs it and says how long it took.
step() {
    local name=$1 started=$SECONDS
    shift
    say "$name"
    "$@"
    say "$name: $((SECONDS - started)) s (total $((SECONDS - began)) s)"
}

licences() {
    "$(e2e/setup/cargo-deny.sh)" --locked check --hide-inclusion-graph \
        -A duplicate -A license-not-encountered bans licenses sources
}

cluster_up() {
    "$target/livepeer-e2e" cluster-status 2> /dev/null || was_down=true
    bring_up
    clear_away
}

lint_charts() {
    local helm=/var/lib/livepeer-e2e/tools/helm chart
    for chart in charts/*/; do
        "$helm" lint --strict "$chart"
    done
}

was_down=false
clean_up() {
    if $was_down; then
        "$target/livepeer-e2e" cluster-down > /dev/null 2>&1 || true
    fi
}
trap clean_up EXIT

step "packages" e2e/setup/packages.sh
step "tools of the cluster" e2e/cluster/build-tools.sh
step "format" cargo fmt --check
step "licences, bans, sources" licences
step "the page's player" e2e/setup/hls-js.sh
step "lints" cargo clippy --locked --quiet --workspace --all-targets -- -D warnings
step "documentation" env RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" \
    cargo doc --locked --quiet --workspace --no-deps --document-private-items --keep-going
# Always the whole workspace, filtered by target: a selection of packages would select other
# features of the dependencies, and compile them again.
step "unit and integration tests" cargo test --locked --quiet --workspace --no-fail-fast \
    --lib --bins --test it
take_turn "make test"
step "images" e2e/images.sh --sizes
step "cluster" cluster_up
step "images into the cluster" e2e/images.sh
step "charts" lint_charts
say "end-to-end tests"
cargo test --locked --workspace --no-fail-fast --test e2e 8>&-
