# The storyboard in a container (docs/serving.md, "In a container").
#
#   docker build --tag shotstream .                                on processors
#   docker build --tag shotstream:gpu --build-arg DEVICE=gpu .     NVIDIA GPUs: jax[cuda13]
#   docker build --tag shotstream:tpu --build-arg DEVICE=tpu .     TPUs: jax[tpu]
#   docker run --publish 127.0.0.1:8765:8765 --volume stories:/data shotstream

# Any image with Python 3.11 or newer as `python`, with pip and venv.
ARG BASE=docker.io/library/python:3.12-slim

# 1. The wheel, of these files and no others.
FROM ${BASE} AS wheel
WORKDIR /source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY configs configs
COPY shotstream_jax shotstream_jax
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# 2. An environment with the wheel, the service, and jax for the device.
FROM ${BASE} AS environment
ARG DEVICE=cpu
COPY --from=wheel /wheels /wheels
RUN case "$DEVICE" in \
      cpu) extras=serve ;; \
      gpu|gpu-cuda12|tpu) extras="serve,$DEVICE" ;; \
      *) echo "DEVICE=$DEVICE must be cpu, gpu, gpu-cuda12 or tpu" >&2; exit 1 ;; \
    esac \
    && wheel="$(echo /wheels/*.whl)" \
    && python -m venv /opt/shotstream \
    && /opt/shotstream/bin/pip install --no-cache-dir "${wheel}[${extras}]"

# 3. What runs: no compiler, no sources, no root.
FROM ${BASE}
COPY --from=environment /opt/shotstream /opt/shotstream
RUN useradd --uid 10001 --create-home shotstream \
    && install --directory --owner shotstream --group shotstream /data
ENV PATH=/opt/shotstream/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SHOTSTREAM_CACHE_DIR=/data/cache \
    PUBLIC_URL=http://localhost:8765
USER 10001
WORKDIR /data
# Stories, and programs that were compiled once.
VOLUME /data
EXPOSE 8765
# Compiling for a large model takes minutes at the first start.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15m --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8765/health/ready')"]
# exec: SIGTERM reaches the server, which finishes its chunk and exits with 0.
CMD ["sh", "-c", "exec shotstream serve --host 0.0.0.0 --public-url \"$PUBLIC_URL\" --stories /data/stories"]
