#!/bin/sh
# status.sh [EXPECTED]: what serves, and what a rollback would start.
# Exit code: 0 fine, 1 not healthy or not EXPECTED, 3 nothing runs.
# shellcheck source=deploy/docker/common.sh
. "$(dirname "$0")/common.sh"

need_docker
docker ps --all --filter "name=^/?$NAME(-(candidate|next|previous|rolled-back))?\$" --format \
  'table {{.Names}}\t{{.Label "org.opencontainers.image.version"}}\t{{.Status}}\t{{.Ports}}\t{{.Image}}'
! exists "$NAME-lock" ||
  echo "under way, or killed: a release or rollback by $(ask "$NAME-lock" '{{.Config.Labels.by}}')"
for container in "$NAME-next" "$NAME-previous" "$NAME"; do
  ! runs "$container" || live=$container
done
[ "${live:-}" ] || fail "nothing serves" "make deploy, or make rollback if the version that was live is broken" 3
[ "$live" = "$NAME" ] || echo "a release or rollback was stopped halfway: make deploy, or make rollback, puts it right"

version=$(answers "$live")
echo "live: ${version:-no answer yet} ($(health "$live"))"
[ "$(health "$live")" = "running healthy" ] || fail "$live is not healthy" "docker logs $live; make rollback"
[ "${1:-$version}" = "$version" ] || fail "$1 should be live, not $version" \
  "make deploy, or make promote VERSION=$version if that is what you want"
