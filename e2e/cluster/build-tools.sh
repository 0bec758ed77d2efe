#!/usr/bin/env bash
# Builds the programs of the local Kubernetes from Go modules, each pinned in its own module
# below tools/, and the pause image. Nothing is downloaded but Go modules.
#
# They go into a cache outside the checkout, keyed by the modules: a second run finds them
# built. Progress goes to standard error; the last line of standard output is the directory.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${LIVEPEER_CACHE:-$HOME/.cache/livepeer}
key=$(cd "$here" && cat pause.c tools/*/go.mod tools/*/go.sum | sha256sum | cut -c1-16)
out=$cache/tools/$key

say() { echo "tools: $*" >&2; }

# build MODULE TAGS PACKAGE[=NAME]...: builds what is missing, under its final name.
build() {
    local module=$1 tags=$2 package name missing=()
    shift 2
    for package in "$@"; do
        name=${package##*=}
        name=${name##*/}
        [ -x "$out/$name" ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    local started=$SECONDS
    say "building ${missing[*]##*/} (the first time takes minutes)"
    for package in "${missing[@]}"; do
        name=${package##*=}
        name=${name##*/}
        go -C "$here/tools/$module" build -trimpath -buildvcs=false -tags "$tags" \
            -ldflags "-s -w ${ldflags:-}" -o "$out/$name.part" "${package%%=*}"
        mv "$out/$name.part" "$out/$name"
    done
    say "built ${missing[*]##*/} in $((SECONDS - started)) s"
}

# The image that holds a pod's namespaces: one static program in a docker archive.
build_pause() {
    [ -e "$out/pause.tar" ] && return
    local work layer
    work=$(mktemp -d)
    mkdir "$work/root" "$work/image"
    cc -Os -static -s -o "$work/root/pause" "$here/pause.c"
    tar -C "$work/root" --owner=0 --group=0 -cf "$work/image/layer.tar" pause
    layer=$(sha256sum "$work/image/layer.tar" | cut -d' ' -f1)
    cat > "$work/image/config.json" <<JSON
{"architecture": "$(go env GOARCH)", "os": "linux",
 "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$layer"]}}
JSON
    echo '[{"Config": "config.json", "RepoTags": ["livepeer.local/pause:1"], "Layers": ["layer.tar"]}]' \
        > "$work/image/manifest.json"
    tar -C "$work/image" -cf "$out/pause.tar.part" manifest.json config.json layer.tar
    mv "$out/pause.tar.part" "$out/pause.tar"
    rm -r "$work"
}

mkdir -p "$out"
exec 9> "$out/.lock"
flock 9

export GOTOOLCHAIN=local GOFLAGS=
k8s=k8s.io/kubernetes/cmd
containerd=github.com/containerd/containerd/v2/cmd
cni=github.com/containernetworking/plugins/plugins
version=$(sed -n 's|.*k8s.io/kubernetes \(v[0-9.]*\).*|\1|p' "$here/tools/kubernetes/go.mod" | head -1)
minor=${version#v1.}

# What kubectl, helm and the operator read as the server's version is set at link time.
ldflags="-X k8s.io/component-base/version.gitVersion=$version
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=${minor%%.*}"
build kubernetes "" $k8s/kube-apiserver $k8s/kube-controller-manager $k8s/kube-scheduler \
    $k8s/kubelet $k8s/kubectl $k8s/kube-proxy
ldflags=
build etcd "" go.etcd.io/etcd/server/v3=etcd
build containerd "no_btrfs no_devmapper no_zfs" \
    $containerd/containerd $containerd/containerd-shim-runc-v2 $containerd/ctr
build cni "" $cni/main/bridge $cni/main/loopback $cni/ipam/host-local $cni/meta/portmap
build runc seccomp github.com/opencontainers/runc
build coredns "" github.com/coredns/coredns
build_pause
build helm "" helm.sh/helm/v4/cmd/helm
echo "$out"
