#!/bin/sh
# Usage: cron.sh install | remove | retrain | drift
# retrain and drift are what cron calls: one at a time, everything logged, only trouble printed (cron mails it).
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
# Yours to change, then `make schedule` again: minute hour day month weekday.
schedule() {
  echo "23 4 * * 1 '$root/orchestration/cron.sh' retrain"
  echo "*/15 * * * * '$root/orchestration/cron.sh' drift"
}

begin="# begin $root"
end="# end $root"
log="$root/artifacts/cron.log"

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
  {
    printf '%s\n' "$others" | awk NF
    echo "$begin"
    schedule
    echo "$end"
  } | crontab -
  echo "scheduled; what will run, and when: crontab -l"
}

# Usage: job NAME QUIET_CODE COMMAND... : QUIET_CODE is a second exit code, besides 0, that is no news.
job() {
  name=$1 quiet=$2
  shift 2
  mkdir -p "$root/artifacts"
  cd "$root"
  PATH="$root/.venv/bin:$PATH"
  export PATH
  output=$(mktemp)
  trap 'rm -f "$output"' EXIT
  code=0
  flock --nonblock --conflict-exit-code 75 "$root/artifacts/$name.lock" "$@" >"$output" 2>&1 || code=$?
  {
    echo "== $(date -u +%Y-%m-%dT%H:%M:%SZ) $name: exit code $code"
    cat "$output"
  } >>"$log"
  case $code in
    0 | "$quiet") return 0 ;;
    75) echo "$name: the run before is still going on; this one was left out" ;;
    *) cat "$output" ;;
  esac
  return "$code"
}

case ${1:-} in
  install) install_block ;;
  remove)
    others=$(without_ours)
    printf '%s\n' "$others" | awk NF | crontab -
    echo "unscheduled"
    ;;
  retrain) job retrain 0 dvc repro ;;
  drift) job drift 3 lifecycle drift ;;
  *)
    sed -n '2p' "$0" >&2
    exit 64
    ;;
esac
