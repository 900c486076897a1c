#!/bin/sh
# Usage: prefect.sh start | stop | worker | WORDS...   Prefect in its own environment: prefect.sh prefect version
# start: a server on 127.0.0.1:4200, unless PREFECT_API_URL names one, and both flows on their schedules.
# worker: both flows on the work pool `retrain` of PREFECT_API_URL, made if it is not there: POOL=process, docker, kubernetes.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
if [ -f .env ]; then
  set -a
  # shellcheck disable=SC1091 # yours: LIFECYCLE_ALERT_URLS and whatever else the steps need
  . ./.env
  set +a
fi
export DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=180
# As lifecycle/tools.py looks for it.
if [ -x .tools/bin/uv ]; then UV=${UV:-.tools/bin/uv}; fi
UV=${UV:-$(command -v uv)} || { echo "error: uv is not here; next: make setup" >&2 && exit 1; }
port=${PORT:-4200}
pid="$root/artifacts/prefect.pid"

# Newer FastAPI and SQLAlchemy install with this Prefect, and then its server fires no schedule.
in_its_environment() {
  case ${POOL:-process} in
    process) with='' ;;
    *) with="--with prefect-$POOL" ;;
  esac
  # shellcheck disable=SC2086 # none, or two words
  exec "$UV" tool run --from 'prefect==3.8.8' --with 'fastapi<0.151' --with 'sqlalchemy<2.1' $with "$@"
}

answers() {
  python3 -c "import urllib.request as u; u.urlopen('$PREFECT_API_URL/health', timeout=5)" 2>/dev/null
}

stop() {
  if [ -f "$pid" ] && kill "$(cat "$pid")" 2>/dev/null; then
    while kill -0 "$(cat "$pid")" 2>/dev/null; do sleep 0.2; done
  fi
  rm -f "$pid"
}

case ${1:-} in
  start)
    mkdir -p artifacts
    stop
    if [ -z "${PREFECT_API_URL:-}" ]; then
      export PREFECT_API_URL="http://127.0.0.1:$port/api"
      if ! answers; then
        "$0" prefect server start --background --host 127.0.0.1 --port "$port"
        waited=0
        until answers; do
          waited=$((waited + 1))
          if [ "$waited" -gt 90 ]; then
            echo "Prefect's server does not answer on port $port: is the port taken? PORT=4201" >&2
            exit 1
          fi
          sleep 1
        done
      fi
    fi
    # The process of `uv tool run` passes a signal on to the one that serves.
    nohup "$0" python orchestration/flow.py >artifacts/prefect.log 2>&1 &
    echo $! >"$pid"
    echo "scheduled; what will run, and when: ${PREFECT_API_URL%/api}, log: artifacts/prefect.log"
    ;;
  stop)
    stop
    if [ -z "${PREFECT_API_URL:-}" ]; then "$0" prefect server stop || echo "no server runs here"; fi
    echo "unscheduled"
    ;;
  worker)
    if [ -z "${PREFECT_API_URL:-}" ]; then
      echo "PREFECT_API_URL is not set: a pool is on a server that others reach too" >&2
      echo "next: PREFECT_API_URL=http://127.0.0.1:4200/api make worker" >&2
      exit 7
    fi
    "$0" prefect work-pool inspect retrain >/dev/null 2>&1 ||
      "$0" prefect --no-prompt work-pool create retrain --type "${POOL:-process}"
    "$0" prefect --no-prompt deploy --all --prefect-file orchestration/prefect.yaml
    in_its_environment prefect worker start --pool retrain --type "${POOL:-process}"
    ;;
  '')
    sed -n '2p' "$0" >&2
    exit 64
    ;;
  *)
    in_its_environment "$@"
    ;;
esac
