#!/bin/sh
# rollback.sh: start what served before, let it serve, and stop what serves. No build, no network, nothing but Docker.
# The only line on stdout is the version that serves now. FROM=VERSION: only if that serves; else exit code 6.
# shellcheck source=deploy/docker/common.sh
. "$(dirname "$0")/common.sh"

live=$(recorded colour) now=$(recorded version) to=$(recorded before)
[ "$live" ] || fail "nothing of $NAME is deployed here" "make deploy" 3
need_docker 1
lock "$REPOSITORY:$now"
back=$(other "$live") trial=''
[ "$(recorded canary)" = 0 ] || trial=$(version "$NAME-$back")
case ${FROM:-$now} in
  "$now" | "$trial") ;;
  *) fail "$now serves here by now, not $FROM" "decide again: make status" 6 ;;
esac
if [ "$(recorded canary)" != 0 ] || { runs "$NAME-$back" && [ "$(version "$NAME-$back")" != "$to" ]; }; then
  say "a release was stopped halfway: undoing it"
  recover
  echo "$now"
  exit
fi
[ "$to" ] || fail "there is no version before $now here" "uv run lifecycle versions, then make deploy VERSION=…"
[ "$(version "$NAME-$back")" = "$to" ] || recover
docker start "$NAME-$back" >/dev/null || fail "$to cannot start" "make deploy VERSION=… of one that can"
ready "$back" "$to" || fail "$to did not get healthy" "make deploy VERSION=… of one that did"
runs "$NAME-proxy" || docker start "$NAME-proxy" >/dev/null || fail "the proxy cannot start" "docker logs $NAME-proxy"
route "$back" "$to" ""
answers "$to" || fail "the proxy does not reach $to" "docker logs $NAME-proxy"
drain "$live"
say "$to serves again; $now is kept, stopped, as $NAME-$live, for a look"
echo "$to"
