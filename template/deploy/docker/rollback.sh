#!/bin/sh
# rollback.sh: stop what serves and start what served before. No build, no network, nothing but Docker.
# The only line on stdout is the version that serves now.
# shellcheck source=deploy/docker/common.sh
. "$(dirname "$0")/common.sh"

need_docker
for container in "$NAME" "$NAME-next" "$NAME-previous" ""; do
  ! exists "$container" || break
done
[ "$container" ] || fail "no container of $NAME is here" "make deploy" 3
lock "$(ask "$container" '{{.Image}}')"

if exists "$NAME-next" && ! runs "$NAME"; then
  say "a release was stopped halfway: undoing it"
  recover
  version "$NAME"
  exit
fi
from=$(version "$NAME") || from=nothing
exists "$NAME-previous" || fail "there is no version before $from here" \
  "uv run lifecycle versions, then make deploy VERSION=…"
to=$(version "$NAME-previous")
! exists "$NAME" || stop "$NAME"
docker start "$NAME-previous" >/dev/null || fail "$to cannot start" "make status"
wait_healthy "$NAME-previous" || fail "$to did not get healthy" "make deploy VERSION=… of one that did"
if exists "$NAME"; then
  remove "$NAME-rolled-back"
  docker rename "$NAME" "$NAME-rolled-back"
fi
docker rename "$NAME-previous" "$NAME"
say "$to serves again; $from is kept, stopped, as $NAME-rolled-back"
echo "$to"
