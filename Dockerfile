# The image of every service that is ours: the workers, the migrations, Flower, the emulator.
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/venv
COPY pyproject.toml constraints.txt README.md ./
COPY models models
COPY migrations migrations
COPY worker worker
COPY emulator emulator
RUN /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt '.[console,flower,tracing,webvtt]'

FROM python:3.12-slim
# A new named volume that is mounted on this home takes over its owner.
RUN useradd --system --uid 10001 --home-dir /var/lib/uplynk-export --create-home export
COPY --from=build /opt/venv /opt/venv
# The root file system may be read-only: nothing is written but to this home and to /tmp.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/uplynk-export
USER 10001
CMD ["uplynk-export", "worker"]
