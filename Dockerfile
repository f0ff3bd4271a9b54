# syntax=docker/dockerfile:1
# One image for every process of the service; docker-compose.yml says which command each one runs.
# `-slim`, not Alpine: some of the packages have no musl wheels.
FROM python:3.12-slim AS build
WORKDIR /build
RUN python -m venv /venv
COPY requirements.lock ./
COPY deploy/kiteconnect deploy/kiteconnect
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock \
 && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps ./deploy/kiteconnect \
 && /venv/bin/pip check

FROM python:3.12-slim
# tini reaps and forwards signals, so that a container stops in its time of grace.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends tini=* \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 1000 --create-home --shell /usr/sbin/nologin ticker \
 && install --directory --owner ticker --group ticker /data
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TICKER_DATA_DIR=/data STATIC_ROOT=/app/static
COPY --from=build /venv /venv
WORKDIR /app
COPY --chown=ticker:ticker . .
# The settings need an environment; these values open nothing and stay in this step.
RUN python manage.py collectstatic --noinput --settings tickerproject.testing.settings \
 && chown -R ticker:ticker /app/static
USER ticker
EXPOSE 8080
VOLUME ["/data"]
# Asks whether this process answers, not whether its dependencies do: a lost Redis is no reason to restart it.
HEALTHCHECK --interval=30s --timeout=10s --retries=3 --start-period=20s \
  CMD ["python", "-m", "tickerproject.healthcheck"]
ENTRYPOINT ["tini", "--"]
CMD ["daphne", "--bind", "0.0.0.0", "--port", "8080", "--verbosity", "0", "--ping-interval", "5", "--ping-timeout", "10", "--no-server-name", "tickerproject.asgi:application"]
