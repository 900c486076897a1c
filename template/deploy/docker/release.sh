#!/bin/sh
# release.sh [--build] VERSION [MODEL_FOLDER]: end with this version serving, or with the one before still serving.
# The image is built if there is none yet, from MODEL_FOLDER (build/model, named from the project's root). AGAIN=1
# replaces the container even when it serves this version already, for a new API_KEY or port. --build only builds the
# image, anew if need be. The last line on stdout is the version.
# shellcheck source=deploy/docker/common.sh
. "$(dirname "$0")/common.sh"

if [ "${1:-}" = --build ]; then
  shift
  need_docker
  build "${1:?usage: deploy/docker/release.sh --build VERSION [MODEL_FOLDER]}" "${2:-build/model}"
  exit
fi
version=${1:?usage: deploy/docker/release.sh VERSION [MODEL_FOLDER]}
image="$NAME:$version"

# The last $KEEP images stay. Docker itself keeps one that a container uses, running or stopped.
prune() {
  docker images "$NAME" --format '{{.Repository}}:{{.Tag}}' | tail -n "+$((KEEP + 1))" |
    while read -r old; do docker rmi "$old" >/dev/null 2>&1 || say "$old stays: a container uses it"; done
}

need_docker
docker image inspect "$image" >/dev/null 2>&1 || build "$@"
lock "$image"
recover

same=no
[ "$(ask "$NAME" '{{.Image}}')" != "$(ask "$image" '{{.Id}}')" ] || same=yes
before=$(version "$NAME") || before=nothing
if [ "$same $before $(health "$NAME")${AGAIN:-}" = "yes $version running healthy" ]; then
  say "$version serves already: nothing to do"
  echo "$version"
  exit
fi

say "trying $image"
create "$NAME-candidate" "$image" --network none
docker start "$NAME-candidate" >/dev/null
wait_healthy "$NAME-candidate" || fail "$version is not fit to serve" \
  "mend it, then build it anew: make image deploy VERSION=$version"
[ "$(answers "$NAME-candidate")" = "$version" ] ||
  fail "$image answers as $(answers "$NAME-candidate")" "docker rmi $image, then release again"
remove "$NAME-candidate"

create "$NAME-next" "$image" --restart unless-stopped --publish "$BIND:$PORT:8000"
! exists "$NAME" || stop "$NAME"
docker start "$NAME-next" >/dev/null || fail "$version cannot start" "is $BIND:$PORT taken? PORT=8001 takes another"
wait_healthy "$NAME-next" || fail "$version did not get healthy" "make deploy VERSION=$version tries again"
if [ "$same" = yes ]; then # NAME-previous stays the version before
  remove "$NAME"
elif exists "$NAME"; then
  remove "$NAME-previous"
  docker rename "$NAME" "$NAME-previous"
fi
docker rename "$NAME-next" "$NAME"
prune
say "$version serves on $BIND:$PORT; before it was $before"
echo "$version"
