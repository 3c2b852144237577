# The trainer: trainer-retrain at night, trainer-train by hand; engine-registry too.
#   docker build -f deploy/docker/trainer.Dockerfile -t prn-line/trainer:0.2.0 .
# For a GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130
FROM python:3.11.14-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/prn-line
# From its own index: the plain one serves gigabytes of CUDA that a CPU has no use for.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN /opt/prn-line/bin/pip install --index-url "$TORCH_INDEX" torch==2.13.0
COPY deploy/docker/constraints.txt ./
COPY pyproject.toml README.md LICENSE ./
COPY engines engines
COPY pipeline pipeline
COPY trainer trainer
RUN /opt/prn-line/bin/pip install --constraint constraints.txt ".[train,s3]"

FROM python:3.11.14-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /state prn \
    && install -d -o prn -g prn /state /srv/registry /srv/archive /srv/store /srv/runs /srv/textfile
COPY --from=build /opt/prn-line /opt/prn-line
COPY --chmod=755 deploy/bin/nightly deploy/bin/say-retrained /opt/prn-line/bin/
ENV PATH=/opt/prn-line/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    XDG_STATE_HOME=/state PRN_LOG_FORMAT=json
USER 10001:10001
WORKDIR /state
CMD ["trainer-train", "--help"]
