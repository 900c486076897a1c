#!/bin/sh
# status.sh [EXPECTED]: what serves, since when and by whom, and what a rollback would start.
# Exit code: 0 fine, 1 it does not answer or is not EXPECTED, 3 nothing is deployed.
# shellcheck source=deploy/docker/common.sh
. "$(dirname "$0")/common.sh"

live=$(recorded colour) now=$(recorded version) before=$(recorded before)
[ "$live" ] || fail "nothing of $NAME is deployed here" "make deploy" 3
need_docker 1
docker ps --all --filter "name=^/?$NAME-(proxy|blue|green)\$" --format \
  'table {{.Names}}\t{{.Label "org.opencontainers.image.version"}}\t{{.Status}}\t{{.Ports}}'
! exists "$NAME-lock" || echo "under way, or killed: a release or rollback by $(ask "$NAME-lock" '{{.Config.Labels.by}}')"
echo "live:     $now ($live) since $(recorded at), by $(recorded by): $(recorded why)"
echo "rollback: ${before:-there is nothing to go back to}"
[ "$(recorded canary)" = 0 ] || echo "canary:   $(recorded canary) % of the requests go to $(version "$NAME-$(other "$live")")"

answer=$(through_proxy) || :
[ "$answer" = "$now" ] || fail "$now should answer, but: ${answer:-nothing does}" \
  "docker logs $NAME-$live; make rollback, or AGAIN=1 make deploy"
echo "answers:  $now"
[ "${1:-$now}" = "$now" ] || fail "$1 should be live, not $now" \
  "make deploy, or make promote VERSION=$now if that is what you want"
