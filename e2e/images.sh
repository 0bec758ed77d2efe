#!/usr/bin/env bash
# Builds the images of the Dockerfile from binaries that cargo builds here, and imports them
# into the local cluster if it is up. Without a registry: mmdebstrap makes the Debian base,
# buildah runs the Dockerfile.
#
#   e2e/images.sh [--sizes]     --sizes also measures them compressed, against their limits
#
# Archives lie in the cache, named by a hash of all that goes into them, so that nothing is
# built or imported twice.
source "$(dirname "${BASH_SOURCE[0]}")/preamble.sh"

cache=${LIVEPEER_CACHE:-$HOME/.cache/livepeer}/images
base_image=docker.io/library/debian:bookworm-slim
# Megabytes, compressed: what a node pulls.
declare -A limit=([node]=180 [operator]=40)
declare -A programs=([node]="livepeer-node livepeer-engine" [operator]="livepeer-operator")

say() { echo "images: $*" >&2; }
# Storage of our own: the machine's containers are not our business.
store=(buildah --root "$cache/storage" --runroot "$cache/run" --storage-driver overlay)

# What Debian's own slim image leaves out, left out here too.
build_base() {
    local archive
    archive=$cache/debian-$(declare -f build_base | sha256sum | cut -c1-12).tar
    if ! [ -e "$archive" ]; then
        say "making the Debian base with mmdebstrap"
        local work
        work=$(mktemp -d -p "$cache")
        mmdebstrap --quiet --variant=minbase \
            --dpkgopt='path-exclude=/usr/share/doc/*' \
            --dpkgopt='path-include=/usr/share/doc/*/copyright' \
            --dpkgopt='path-exclude=/usr/share/man/*' \
            --dpkgopt='path-exclude=/usr/share/info/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' \
            --dpkgopt='path-exclude=/usr/share/lintian/*' \
            --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/* "$1"/var/log/*' \
            --customize-hook='mkdir -p "$1"/var/cache/apt/archives/partial "$1"/var/lib/apt/lists/partial "$1"/var/log/apt' \
            bookworm "$work/base.tar" >&2
        mv "$work/base.tar" "$archive"
        rm -r "$work"
    fi
    base_key=$(basename "$archive" .tar)
    if [ "$(cat "$cache/base-in-store" 2>/dev/null)" != "$base_key" ]; then
        local container
        container=$("${store[@]}" from scratch)
        "${store[@]}" add --quiet "$container" "$archive" / > /dev/null
        "${store[@]}" config --cmd bash "$container"
        "${store[@]}" commit --quiet --rm "$container" "$base_image" > /dev/null
        "${store[@]}" push --quiet "$base_image" "docker-archive:$cache/$base_key.image.part:$base_image"
        mv "$cache/$base_key.image.part" "$cache/$base_key.image"
        echo "$base_key" > "$cache/base-in-store"
    fi
}

# build_image NAME: sets archive[NAME].
build_image() {
    local name=$1 bins key program started=$SECONDS
    bins=$cache/bins-$name
    rm -rf "$bins"
    mkdir -p "$bins"
    for program in ${programs[$name]}; do
        strip --strip-debug -o "$bins/$program" "$target/$program"
    done
    key=$({ echo "$base_key"; cat Dockerfile NOTICE LICENSE "$bins"/*; } | sha256sum | cut -c1-16)
    archive[$name]=$cache/$name-$key.tar
    if [ -e "${archive[$name]}" ]; then
        return
    fi
    # Older builds of the same image are of no use any more.
    rm -f "$cache/$name"-*.tar
    "${store[@]}" bud --quiet --pull-never --isolation chroot --network host --layers \
        --build-context "build=$bins" --target "$name" --tag "livepeer.local/$name:dev" \
        --file Dockerfile . >&2
    "${store[@]}" push --quiet "livepeer.local/$name:dev" \
        "docker-archive:${archive[$name]}.part:livepeer.local/$name:dev" >&2
    mv "${archive[$name]}.part" "${archive[$name]}"
    "${store[@]}" image prune --force > /dev/null 2>&1 || true
    say "built livepeer.local/$name:dev in $((SECONDS - started)) s"
}

check_size() {
    local name=$1 megabytes
    megabytes=$(($(gzip -6 < "${archive[$name]}" | wc -c) / 1000000))
    say "livepeer.local/$name:dev is $megabytes MB compressed (limit ${limit[$name]} MB)"
    [ "$megabytes" -le "${limit[$name]}" ]
}

mkdir -p "$cache"
exec 9> "$cache/.lock"
flock 9
build_programs
declare -A archive
build_base
build_image node
build_image operator
if [ "${1:-}" = --sizes ]; then
    check_size node
    check_size operator
fi
if "$target/livepeer-e2e" cluster-status 2> /dev/null; then
    "$target/livepeer-e2e" load-image "$cache/$base_key.image" "${archive[node]}" "${archive[operator]}"
fi
