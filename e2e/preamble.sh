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

# What brings the local Kubernetes up, without touching it.
prepare() {
    set_up
    say "programs (the first time: minutes)"
    build_programs
}

# The local Kubernetes, found up or brought up. What stays of it must not hold the turn.
bring_up() {
    say "the local Kubernetes"
    "$target/livepeer-e2e" cluster-up 8>&-
}

# Whose turn it is on the local Kubernetes: two of `make test`, `make demo` and `make faults` at
# once would remove each other's operator. The kernel takes the lock away from who ends or is
# killed; the file stays, with who took it last.
turn=/run/lock/livepeer-e2e-turn.lock
turn_limit=7200 # seconds: `make faults` takes about one hour

# take_turn COMMAND: waits for the turn, says for whom, and keeps it until the script ends. What it
# starts has it too, as descriptor 8, so whatever is to outlive the script is started without.
take_turn() {
    mkdir -p "$(dirname "$turn")"
    exec 8>> "$turn"
    if ! flock --nonblock 8; then
        say "the local Kubernetes is in use: $(cat "$turn"). Waiting for its end; Ctrl-C gives up"
        if ! flock --timeout "$turn_limit" 8; then
            echo "still in use after $turn_limit s: $(cat "$turn")" >&2
            exit 1
        fi
    fi
    echo "$1, pid $$, since $(date +%T)" > "$turn"
}

# Whose turn it is has the cluster alone: what a run left that was cut off goes.
clear_away() { "$target/livepeer-e2e" clear-away; }
