# What the scripts around the local Kubernetes begin with; they source it. It takes them to the
# root of the checkout, says where cargo puts programs, and compiles those, never silently.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}/debug

say() { echo "== $*"; }

# All programs and tests at once: fewer would select other features of the dependencies, and
# compile them again.
build_programs() { cargo build --locked --workspace --bins --tests; }

# The Debian packages and the programs of a Kubernetes.
set_up() {
    say "packages and tools (the first time: about 10 minutes on 2 cores)"
    e2e/setup/packages.sh
    e2e/cluster/build-tools.sh > /dev/null
}

# The local Kubernetes, found up or brought up.
bring_up() {
    set_up
    say "programs (the first time: minutes)"
    build_programs
    say "the local Kubernetes"
    "$target/livepeer-e2e" cluster-up
}
