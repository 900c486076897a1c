#!/bin/sh
# Usage: cron.sh install | remove | retrain [REASON] | drift
# retrain and drift are what cron calls: everything is logged, only trouble is printed (cron mails it).
# When, how often and how long is in params.yaml under `retrain`; LIFECYCLE_ALERT_URLS, LIFECYCLE_HEARTBEAT_URL
# and whatever else a job needs of the environment may be in .env.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
begin="# begin $root"
end="# end $root"
log="$root/artifacts/cron.log"
log_bytes=1000000 # then it becomes cron.log.1, and the one before is gone

# Usage: setting NAME DEFAULT: one of params.yaml's `retrain`.
setting() {
  awk -v key="$1:" -v value="$2" '
    /^[^ #]/ { inside = $1 == "retrain:" }
    inside && $1 == key { value = $0; sub(/^[^:]*: */, "", value); sub(/ +#.*/, "", value); gsub(/["\047]/, "", value) }
    END { print value }' "$root/params.yaml"
}

# The crontab but for our block. A crontab that cannot be read is not one to write over.
without_ours() {
  now=$(crontab -l 2>&1) || case $now in
    "no crontab for "*) now='' ;;
    *)
      echo "the crontab cannot be read: $now" >&2
      return 1
      ;;
  esac
  printf '%s\n' "$now" | awk -v begin="$begin" -v end="$end" '
    $0 == begin { ours = 1 } !ours && NF { print } $0 == end { ours = 0 }'
}

# Usage: write LINE...: the crontab, with these lines as our block; none: without it.
write() {
  others=$(without_ours)
  {
    printf '%s\n' "$others" | awk NF
    if [ $# -gt 0 ]; then printf '%s\n' "$begin" "$@" "$end"; fi
  } | crontab -
}

# Usage: job NAME QUIET_CODES COMMAND... : QUIET_CODES, besides 0, are no news.
job() {
  name=$1 quiet=$2
  shift 2
  mkdir -p artifacts
  if [ -f "$log" ] && [ "$(wc -c <"$log")" -gt "$log_bytes" ]; then mv "$log" "$log.1"; fi
  output=$(mktemp)
  trap 'rm -f "$output"' EXIT
  code=0
  "$@" >"$output" 2>&1 || code=$?
  {
    echo "== $(date -u +%Y-%m-%dT%H:%M:%SZ) $name: exit code $code"
    cat "$output"
  } >>"$log"
  case " 0 $quiet " in *" $code "*) return 0 ;; esac
  cat "$output"
  return "$code"
}

# Drift or new data starts a retraining, unless the cooldown says no. Checks may overlap without harm; flock only keeps
# those that hang, on a store that does not answer, from piling up. Two retrainings exclude each other by the loop's lock.
drift() {
  code=0
  reason=$(flock --nonblock --conflict-exit-code 75 artifacts/drift.lock lifecycle due) || code=$?
  printf '%s\n' "$reason"
  if [ "$code" = 2 ]; then "$0" retrain "$reason" || code=$?; fi
  return "$code"
}

cd "$root"
set -a
PATH="$root/.venv/bin:$PATH"
# shellcheck disable=SC1091 # yours, and it need not be there
if [ -f .env ]; then . ./.env; fi
set +a
case ${1:-} in
  install)
    check="$(setting check '*/15 * * * *') '$root/orchestration/cron.sh' drift"
    write "$(setting schedule '23 4 * * 1') '$root/orchestration/cron.sh' retrain" "$check"
    echo "scheduled; what will run, and when: crontab -l"
    ;;
  remove)
    write
    echo "unscheduled"
    ;;
  retrain) job retrain '' lifecycle retrain --run "cron@$(hostname):$root" --reason "${2:-schedule}" ;;
  drift) job drift '2 3 75' drift ;;
  *)
    sed -n '2p' "$0" >&2
    exit 64
    ;;
esac
