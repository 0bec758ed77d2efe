#!/usr/bin/env bash
# Installs the Debian packages that building and testing need. Quick if they are there.
set -euo pipefail

packages=(
    # to build: C compiler and headers, FFmpeg, bindgen's clang, runc's seccomp
    build-essential pkg-config clang libclang-dev git ca-certificates
    libavcodec-dev libavformat-dev libavfilter-dev libavutil-dev libswscale-dev libswresample-dev
    libseccomp-dev
    # the local Kubernetes: its network, namespaces, kube-proxy's rules
    iproute2 nftables util-linux procps mount kmod
    # the images
    mmdebstrap buildah debian-archive-keyring
    # to make clips, to judge renditions, to read replies
    ffmpeg curl jq
)

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "packages: all ${#packages[@]} are installed"
    exit 0
fi
[ "$(id -u)" = 0 ] || { echo "packages: installing needs root: ${missing[*]}" >&2; exit 1; }
echo "packages: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# Two tries: a mirror that is being updated fails once.
apt-get update -q=2 || apt-get update -q=2
apt-get install -q=2 -y --no-install-recommends "${missing[@]}" > /dev/null
