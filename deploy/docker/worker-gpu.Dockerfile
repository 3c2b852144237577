# Worker on an NVIDIA GPU: full TensorRT, pycuda and cuda.bindings, as docs/tensorrt.md says. It serves plans (prn.plan).
#   docker build -f deploy/docker/worker-gpu.Dockerfile -t prn-line/worker-gpu:0.2.0 .
# `--target build` gives an image with nvcc: the one that runs engine-build, on the kind of GPU that serves.
FROM nvidia/cuda:13.0.1-devel-ubuntu24.04 AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 DEBIAN_FRONTEND=noninteractive
# The archive keeps the newest build of a package only: its versions come with the image's tag.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-dev python3-venv g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python3 -m venv /opt/prn-line
# pycuda finds the toolkit by this file; curand and GL are not used
RUN printf '%s\n' 'CUDA_ROOT = "/usr/local/cuda"' 'CUDA_ENABLE_CURAND = False' \
    'CUDA_ENABLE_GL = False' >~/.aksetup-defaults.py \
    && /opt/prn-line/bin/pip install pycuda==2026.1 cuda-bindings==13.5.0
ARG TENSORRT_INDEX=https://pypi.nvidia.com
RUN /opt/prn-line/bin/pip install --extra-index-url "$TENSORRT_INDEX" "tensorrt>=11.4,<12"
COPY deploy/docker/constraints.txt ./
COPY pyproject.toml README.md LICENSE ./
COPY engines engines
COPY pipeline pipeline
COPY trainer trainer
RUN /opt/prn-line/bin/pip install --constraint constraints.txt ".[gpu,s3]"
ENV PATH=/opt/prn-line/bin:$PATH

FROM nvidia/cuda:13.0.1-base-ubuntu24.04
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --home-dir /state prn \
    && install -d -o prn -g prn /state /srv/registry /srv/archive
COPY --from=build /opt/prn-line /opt/prn-line
COPY --chmod=755 deploy/bin/check-health /opt/prn-line/bin/
ENV PATH=/opt/prn-line/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    XDG_STATE_HOME=/state PRN_LOG_FORMAT=json \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /state
# asks a worker's page; other commands have none and count as healthy
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["check-health"]
CMD ["pipeline-worker", "--help"]
