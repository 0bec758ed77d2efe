# The two images. Elsewhere: docker build --target node|operator .
#
# The stage `build` compiles with cargo; the test bench replaces it by a directory of binaries
# that are already there (buildah bud --build-context build=DIR), everything else being the same.
# Both programs run as a user of their own on a read-only root.

FROM docker.io/library/rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends \
        pkg-config clang libavcodec-dev libavformat-dev libavfilter-dev libavutil-dev \
        libswscale-dev libswresample-dev
WORKDIR /src
COPY . .
RUN cargo build --release --locked \
        --bin livepeer-node --bin livepeer-engine --bin livepeer-operator \
    && cp target/release/livepeer-node target/release/livepeer-engine \
        target/release/livepeer-operator /

# Documentation, translations and package lists are left out of both; what the licences of the
# Debian packages ask for, their copyright files, stays.
FROM docker.io/library/debian:bookworm-slim AS base
RUN printf '%s\n' \
        'path-exclude=/usr/share/doc/*' 'path-include=/usr/share/doc/*/copyright' \
        'path-exclude=/usr/share/man/*' 'path-exclude=/usr/share/info/*' \
        'path-exclude=/usr/share/locale/*' 'path-exclude=/usr/share/lintian/*' \
        > /etc/dpkg/dpkg.cfg.d/slim \
    && useradd --no-log-init --key UID_MAX=65533 --uid 65532 --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin livepeer

FROM base AS node
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
        libavcodec59 libavformat59 libavfilter8 libavutil57 libswscale6 libswresample4 \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
COPY LICENSE NOTICE /usr/share/doc/livepeer/
COPY --from=build /livepeer-node /livepeer-engine /usr/bin/
USER 65532:65532
ENTRYPOINT ["/usr/bin/livepeer-node"]

# The operator needs a C library and certificates, nothing else: no shell, no package manager.
FROM base AS operator-root
WORKDIR /packages
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && apt-get -o APT::Sandbox::User=root download libc6 libgcc-s1 \
    && mkdir -p /root-of-operator/etc/ssl/certs /root-of-operator/usr/share/common-licenses \
    && for package in *.deb; do dpkg-deb --extract "$package" /root-of-operator; done \
    && cp /etc/ssl/certs/ca-certificates.crt /root-of-operator/etc/ssl/certs/ \
    && cp /etc/passwd /etc/group /root-of-operator/etc/ \
    && cp -a /usr/share/common-licenses/. /root-of-operator/usr/share/common-licenses/ \
    && cp -r --parents /usr/share/doc/ca-certificates/copyright /root-of-operator/ \
    && rm -rf /root-of-operator/usr/share/lintian /root-of-operator/usr/share/locale \
        /root-of-operator/usr/lib/*-linux-gnu/gconv

FROM scratch AS operator
COPY --from=operator-root /root-of-operator/ /
COPY LICENSE NOTICE /usr/share/doc/livepeer/
COPY --from=build /livepeer-operator /usr/bin/
USER 65532:65532
ENTRYPOINT ["/usr/bin/livepeer-operator"]
