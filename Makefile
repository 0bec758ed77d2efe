# The commands of this project; each says what it does. `make help` lists them.
# All work on the local Kubernetes only (one a machine), whatever KUBECONFIG says.

target = $${CARGO_TARGET_DIR:-target}/debug

.PHONY: help run demo demo-down test bench faults audit cluster-up cluster-down images crds setup

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | column -t -s '|'

run: setup ## one node with every role, no cluster, no chain: then curl -T seg.ts 127.0.0.1:9935/live/hello/0.ts
	cargo build --bin livepeer-node --bin livepeer-engine
	$(target)/livepeer-node all

demo: ## the local Kubernetes, the operator by Helm, a real clip through the pods
	e2e/demo.sh

demo-down: cluster-down ## remove what demo made

test: ## format, lints, licences, unit, integration and end-to-end tests
	e2e/test.sh

bench: ## the engine against ffmpeg, as docs say it is measured
	e2e/bench.sh

faults: ## kill, freeze and cut off what serves a stream, 20 times each
	e2e/faults.sh

audit: ## known vulnerabilities in dependencies (needs the network)
	"$$(e2e/setup/cargo-deny.sh)" check advisories

setup: ## install the Debian packages that everything here needs
	e2e/setup/packages.sh

cluster-up: ## the local Kubernetes; finds it up the second time
	e2e/cluster/up.sh

cluster-down: ## remove the local Kubernetes as if it had never been
	e2e/cluster/down.sh

images: setup ## build the two images, and load them if the cluster is up
	e2e/images.sh --sizes

crds: ## write the generated CRDs again, wherever they are
	cargo run --quiet --bin livepeer-operator -- crds crds
	cargo run --quiet --bin livepeer-operator -- crds config/crd
	cargo run --quiet --bin livepeer-operator -- crds --helm charts/livepeer/templates/crds
