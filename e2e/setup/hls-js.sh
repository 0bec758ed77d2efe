#!/usr/bin/env bash
# Compares the vendored player and its licence, byte for byte, with the npm package of the
# version that the player says it is: nothing else names that version. Fetched once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../node/src/gateway/page"

version=$(grep -o -m 1 'in hls\.js version [0-9][0-9a-z.-]*' hls.light.min.js || true)
version=${version##* }
[ -n "$version" ] || { echo "hls.js: hls.light.min.js does not say its version" >&2; exit 1; }

cache=${LIVEPEER_CACHE:-$HOME/.cache/livepeer}/hls.js-$version
mkdir -p "$cache"
exec 9> "$cache/.lock"
flock 9
if ! [ -d "$cache/package" ]; then
    echo "hls.js: fetching $version from the npm registry" >&2
    rm -rf "$cache/unpacked"
    mkdir "$cache/unpacked"
    npm pack --loglevel error --pack-destination "$cache/unpacked" "hls.js@$version" > /dev/null
    tar -xzf "$cache/unpacked/hls.js-$version.tgz" -C "$cache/unpacked" \
        package/dist/hls.light.min.js package/LICENSE
    mv "$cache/unpacked/package" "$cache/package"
    rm -rf "$cache/unpacked"
fi

# same VENDORED PACKAGED
same() {
    cmp "$1" "$cache/package/$2" && return
    echo "hls.js: node/src/gateway/page/$1 is not $2 of the npm package hls.js@$version" >&2
    return 1
}
differs=false
same hls.light.min.js dist/hls.light.min.js || differs=true
same hls.js-LICENSE LICENSE || differs=true
$differs && exit 1
echo "hls.js: player and licence are those of the npm package $version"
