# Camera, worker and every other command of the line on CPUs: OpenVINO and ONNX Runtime, no torch.
#   docker build -f deploy/docker/worker.Dockerfile -t prn-line/worker:0.2.0 .
# The tests run on this Python. Pin the digest where an image must never change under its tag.
FROM python:3.11.14-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/prn-line
COPY deploy/docker/constraints.txt ./
COPY pyproject.toml README.md LICENSE ./
COPY engines engines
COPY pipeline pipeline
COPY trainer trainer
RUN /opt/prn-line/bin/pip install --constraint constraints.txt ".[worker,video,s3]"

FROM python:3.11.14-slim-bookworm
# One number in all images: rings in shared memory belong to their user. New volumes take the
# owner of the folder that they are laid over.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /state prn \
    && install -d -o prn -g prn /state /srv/registry /srv/archive
COPY --from=build /opt/prn-line /opt/prn-line
COPY --chmod=755 deploy/bin/check-health /opt/prn-line/bin/
ENV PATH=/opt/prn-line/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    XDG_STATE_HOME=/state PRN_LOG_FORMAT=json
USER 10001:10001
WORKDIR /state
# asks a worker's page; other commands have none and count as healthy
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 CMD ["check-health"]
CMD ["pipeline-worker", "--help"]
