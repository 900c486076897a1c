#!/bin/sh
# Usage: airflow.sh WORDS...   Airflow in its own environment, its data in artifacts/airflow: airflow.sh dags list
# PORT (8080) is that of its page. Settings of Airflow's own, AIRFLOW__SECTION__KEY, go first: a shared database, another
# executor. `make schedule` unpauses the DAGs wherever those settings point.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
if [ -f .env ]; then
  set -a
  # shellcheck disable=SC1091 # yours: LIFECYCLE_ALERT_URLS and whatever else the steps need
  . ./.env
  set +a
fi
# As lifecycle/tools.py looks for it.
if [ -x .tools/bin/uv ]; then UV=${UV:-.tools/bin/uv}; fi
UV=${UV:-$(command -v uv)} || { echo "error: uv is not here; next: make setup" >&2 && exit 1; }
port=${PORT:-8080}
default() { eval "export $1=\"\${$1:-\$2}\""; }

default AIRFLOW_HOME "$root/artifacts/airflow"
# Its processes wait for each other's writes; for more than a few DAGs let this be a PostgreSQL.
default AIRFLOW__DATABASE__SQL_ALCHEMY_CONN "sqlite:///$AIRFLOW_HOME/airflow.db?timeout=60"
default AIRFLOW__CORE__DAGS_FOLDER "$root/orchestration"
default AIRFLOW__CORE__LOAD_EXAMPLES False
default AIRFLOW__CORE__PARALLELISM 2
default AIRFLOW__API__HOST 127.0.0.1
default AIRFLOW__API__PORT "$port"
default AIRFLOW__API__BASE_URL "http://127.0.0.1:$port"
default AIRFLOW__API__WORKERS 1
default AIRFLOW__CORE__EXECUTION_API_SERVER_URL "http://127.0.0.1:$port/execution/"
# Ports that it opens for its logs; those of a second Airflow on this host must be others.
default AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT "$((port + 1))"
default AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT "$((port + 2))"
# Nothing is reported to anybody.
default AIRFLOW__USAGE_DATA_COLLECTION__ENABLED False
default DO_NOT_TRACK 1

mkdir -p "$AIRFLOW_HOME"
case ${AIRFLOW__CORE__EXECUTOR:-} in
  Kubernetes*) with='--with apache-airflow-providers-cncf-kubernetes' ;;
  Celery*) with='--with apache-airflow-providers-celery' ;;
  *) with='' ;;
esac
verb=${1:-} code=0
# shellcheck disable=SC2086 # none, or two words
set -- "$UV" tool run --from 'apache-airflow==3.3.2' $with airflow "$@"
if [ "$verb" != standalone ]; then exec "$@"; fi

# Told to end, it leaves parts of it behind, or waits for them for ever: so all are told, and after ten seconds killed.
# timeout(1) is here for the process group that it makes.
timeout --kill-after=10 infinity "$@" &
group=$!
trap 'kill -TERM "$group"' INT TERM HUP
while kill -0 "$group" 2>/dev/null; do wait "$group" || code=$?; done
for _ in 1 2 3 4 5 6 7 8 9 10; do
  kill -0 -- "-$group" 2>/dev/null || exit "$code"
  sleep 1
done
kill -KILL -- "-$group"
exit "$code"
