#!/bin/sh
# Usage: cron.sh install | remove | retrain [REASON] | drift
# retrain and drift are what cron calls: one at a time, everything logged, only trouble printed (cron mails it).
# When, how often and how long stands in params.yaml under `retrain`; LIFECYCLE_ALERT_URL, LIFECYCLE_HEARTBEAT_URL
# and whatever else a job needs of the environment may stand in .env.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
begin="# begin $root"
end="# end $root"
log="$root/artifacts/cron.log"
log_bytes=1000000 # then it becomes cron.log.1, and the one before is gone
busy=75           # another run goes on

enter() {
  cd "$root"
  mkdir -p artifacts
  PATH="$root/.venv/bin:$PATH"
  export PATH
  set -a
  # shellcheck disable=SC1091 # yours, and it need not be there
  if [ -f .env ]; then . ./.env; fi
  set +a
}

# Usage: setting NAME DEFAULT: one of params.yaml's `retrain`.
setting() {
  awk -v key="$1:" -v value="$2" '
    /^[^ #]/ { inside = $1 == "retrain:" }
    inside && $1 == key { value = $0; sub(/^[^:]*: */, "", value); sub(/ +#.*/, "", value); gsub(/["\047]/, "", value) }
    END { print value }' "$root/params.yaml"
}

schedule() {
  retrain_at=$(setting schedule '23 4 * * 1')
  check_at=$(setting check '*/15 * * * *')
  echo "$retrain_at '$root/orchestration/cron.sh' retrain"
  echo "$check_at '$root/orchestration/cron.sh' drift"
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

install_block() {
  others=$(without_ours)
  lines=$(schedule)
  {
    printf '%s\n' "$others" | awk NF
    printf '%s\n' "$begin" "$lines" "$end"
  } | crontab -
  echo "scheduled; what will run, and when: crontab -l"
}

# Usage: job NAME QUIET_CODES COMMAND... : QUIET_CODES, besides 0, are no news.
job() {
  name=$1 quiet=$2
  shift 2
  enter
  if [ -f "$log" ] && [ "$(wc -c <"$log")" -gt "$log_bytes" ]; then mv "$log" "$log.1"; fi
  output=$(mktemp)
  trap 'rm -f "$output"' EXIT
  code=0
  flock --nonblock --conflict-exit-code "$busy" "artifacts/$name.lock" "$@" >"$output" 2>&1 || code=$?
  {
    echo "== $(date -u +%Y-%m-%dT%H:%M:%SZ) $name: exit code $code"
    cat "$output"
  } >>"$log"
  case " 0 $quiet " in *" $code "*) return 0 ;; esac
  if [ "$code" = "$busy" ]; then
    echo "$name: the run before is still going on; this one was left out"
  fi
  cat "$output"
  return "$code"
}

# Under the lock of this machine: takes the registry's, runs the steps, and what fails again, gives the lock back.
# DVC knows which steps are done, so another attempt begins at the one that failed.
retrain() {
  run="cron@$(hostname):$root"
  lifecycle begin --run "$run" --reason "$1"
  retries=$(setting retries 2) seconds=$(setting retry_seconds 60) code=0
  lifecycle step || code=$?
  while [ "$retries" -gt 0 ]; do
    case $code in 0 | 4 | 5 | 7 | 8) break ;; esac
    seconds=$(awk -v s="$seconds" -v seed="$$" 'BEGIN { srand(seed); printf "%.2f", s * (1 + rand() / 4) }')
    echo "exit code $code; again in $seconds s, $retries attempts are left"
    sleep "$seconds"
    retries=$((retries - 1)) seconds=$(awk -v s="$seconds" 'BEGIN { print 2 * s }') code=0
    lifecycle step || code=$?
  done
  lifecycle end --run "$run" --code "$code"
  return "$code"
}

# Under its lock too: drift or new data starts a retraining, unless the cooldown says no.
drift() {
  code=0
  reason=$(lifecycle due) || code=$?
  printf '%s\n' "$reason"
  if [ "$code" = 2 ]; then "$0" retrain "$reason" || code=$?; fi
  return "$code"
}

case ${1:-} in
  install) install_block ;;
  remove)
    others=$(without_ours)
    printf '%s\n' "$others" | awk NF | crontab -
    echo "unscheduled"
    ;;
  retrain) job retrain '' "$0" locked-retrain "${2:-schedule}" ;;
  drift) job drift '2 3 75' "$0" locked-drift ;;
  locked-retrain) retrain "$2" ;;
  locked-drift) drift ;;
  *)
    sed -n '2p' "$0" >&2
    exit 64
    ;;
esac
