# Image of `edgepose`; docs/guides/docker.md. No architecture is named: it builds for x86_64 and aarch64.
ARG DEBIAN=trixie

FROM docker.io/library/debian:${DEBIAN}-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev python3-dev python3-venv
WORKDIR /source
COPY . .
# Extras of pyproject.toml.
ARG EXTRAS=camera,video
RUN python3 -m venv /opt/edgepose \
    && /opt/edgepose/bin/pip install --no-cache-dir ".[${EXTRAS}]"

FROM docker.io/library/debian:${DEBIAN}-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 edgepose \
    && useradd --uid 10001 --gid edgepose --groups video --home-dir /var/lib/edgepose --create-home edgepose
COPY --from=build /opt/edgepose /opt/edgepose
# The loop writes status.json into the runtime directory. /tmp is writable with a read-only root and `--tmpfs /tmp` too.
ENV PATH=/opt/edgepose/bin:$PATH RUNTIME_DIRECTORY=/tmp XDG_CACHE_HOME=/var/lib/edgepose \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER edgepose
WORKDIR /var/lib/edgepose
VOLUME /var/lib/edgepose
# Only for `edgepose camera`. A loop without frames has the state `camera lost`.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "-c", \
    "import json, sys, time; s = json.load(open('/tmp/status.json')); \
    sys.exit(s['state'] not in ('running', 'paused') or time.time() - s['time'] > 30)"]
ENTRYPOINT ["edgepose"]
CMD ["camera", "--help"]
