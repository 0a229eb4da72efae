# The image in which every task of the pipeline runs at Vertex: `make image IMAGE=...` builds it.
# TensorFlow 2.16 is built for CUDA 12.3 and cuDNN 8.9; NVIDIA has no base with both.
FROM nvidia/cuda:12.3.2-runtime-ubuntu22.04 AS base
RUN apt-get update \
 && apt-get install --yes --no-install-recommends --allow-downgrades libcudnn8=8.9.7.29-1+cuda12.2 \
 && rm -rf /var/lib/apt/lists/*

FROM base AS environment
COPY --from=ghcr.io/astral-sh/uv:0.13.9 /uv /usr/local/bin/uv
ENV UV_PYTHON_INSTALL_DIR=/opt/python UV_NO_CACHE=1 UV_LINK_MODE=copy
WORKDIR /build
COPY pyproject.toml requirements.lock ./
RUN uv venv --managed-python --python 3.11 /opt/spotted
RUN uv pip install --python /opt/spotted/bin/python --require-hashes --compile-bytecode \
    --requirements pyproject.toml --extra tracking --constraints requirements.lock

FROM base
COPY --from=environment /opt/python /opt/python
COPY --from=environment /opt/spotted /opt/spotted
WORKDIR /spotted
COPY requirements.lock ./
COPY schema schema
COPY models models
COPY components components
COPY pipeline pipeline
ENV PATH=/opt/spotted/bin:$PATH \
    PYTHONPATH=/spotted \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TF_USE_LEGACY_KERAS=0 \
    TF_CPP_MIN_LOG_LEVEL=1 \
    GCS_READAHEAD_BUFFER_SIZE_BYTES=1048576
# Vertex gives a task a home folder of root's; what libraries keep for themselves goes elsewhere.
ENV HOME=/tmp
# Dataflow starts its workers by the entry point, which needs no environment of its own; Vertex by
# the command that the pipeline file names.
COPY --from=apache/beam_python3.11_sdk:2.72.0 /opt/apache/beam /opt/apache/beam
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
ENTRYPOINT ["/opt/apache/beam/boot"]
USER 1000:1000
ARG CODE
LABEL org.spotted.code=$CODE
