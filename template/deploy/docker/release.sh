#!/bin/sh
# release.sh VERSION [MODEL_FOLDER]: end with this version serving, or with the one before still serving; no request is lost.
# The image is taken from this machine, or from IMAGE (by digest) or $IMAGE_REGISTRY, or built from MODEL_FOLDER
# (build/model, named from the project's root). CANARY=10 gives it 10 % of the requests first, for CANARY_SECONDS.
# AGAIN=1 starts it anew even when it serves already, for a new API_KEY. The last line on stdout is the version.
# shellcheck source=deploy/docker/common.sh
. "$(dirname "$0")/common.sh"

version=${1:?usage: deploy/docker/release.sh VERSION [MODEL_FOLDER]}
image="$REPOSITORY:$version"

obtain() {
  from=${IMAGE:-${IMAGE_REGISTRY:+$IMAGE_REGISTRY/$image}}
  if [ -z "${IMAGE:-}" ] && docker image inspect "$image" >/dev/null 2>&1; then return; fi
  if [ -z "$from" ]; then
    deploy/image.sh build "$@"
    return
  fi
  docker pull --quiet "$from" >&2 || fail "$from cannot be pulled" "docker login ${from%%/*}, or make push on a machine that has it"
  [ "$(version "$from")" = "$version" ] || fail "$from is $(version "$from"), not $version" "give the digest of the right one"
  docker tag "$from" "$image"
}

# The port is tried before a proxy that serves is replaced.
start_proxy() {
  docker port "$NAME-proxy" 8000/tcp 2>/dev/null | grep -qxF "$BIND:$PORT" ||
    docker run --rm --network bridge --publish "$BIND:$PORT:8000" --entrypoint true "$image" ||
    fail "$BIND:$PORT cannot be listened on" "is it taken? PORT=8001 takes another"
  mkdir -p artifacts/certificates "${ROUTES%/*}"
  [ "$(id -u)" != 0 ] || chown "$OWNER" artifacts/certificates
  compose up --detach --no-deps proxy || fail "the proxy cannot start" "is $PROXY_IMAGE here, or its port taken?"
}

try_canary() {
  say "$CANARY % of the requests go to $version for ${CANARY_SECONDS:=600} s"
  route "$live" "$now" "$before" "$CANARY"
  docker exec "$NAME-$next" python -u -m lifecycle.deploy.canary "http://$live:8000" "http://$next:8000" \
    "$CANARY_SECONDS" "${CANARY_REQUESTS:-100}" >&2 || fail "$version is not to have more than $CANARY %" \
    "look into it; without a canary: make deploy VERSION=$version"
}

# The last $KEEP images stay, and those that the registry's aliases ($PROTECT) or a container use.
prune() {
  docker images "$REPOSITORY" --format '{{.Tag}}' | tail -n "+$((KEEP + 1))" | while read -r old; do
    case " $PROTECT " in
      *" $old "*) ;;
      *) docker rmi "$REPOSITORY:$old" >/dev/null 2>&1 || say "$REPOSITORY:$old stays: a container uses it" ;;
    esac
  done
}

case ${CANARY:-1} in
  [1-9] | [1-9][0-9]) ;;
  *) fail "CANARY is $CANARY" "CANARY=10 is 10 % of the requests; from 1 to 99" ;;
esac
need_docker 1
docker compose version >/dev/null 2>&1 || command -v docker-compose >/dev/null ||
  fail "Docker Compose is not installed here" "https://docs.docker.com/compose/install"
obtain "$@"
lock "$image"
recover

live=$(recorded colour) now=$(recorded version) before=$(recorded before)
if [ "$now" = "$version" ] && [ -z "${AGAIN:-}" ] && ready "$live" "$version"; then
  start_proxy # the port or the domain may be another one
  route "$live" "$version" "$before"
  answers "$version" || fail "the proxy does not reach $version" "docker logs $NAME-proxy"
  say "$version serves already, on $BIND:$PORT: nothing else to do"
  echo "$version"
  exit
fi
was=${now:-nothing} next=$(other "${live:-green}")
say "starting $image"
start "$next" "$version" || fail "$version cannot start" "docker logs $NAME-$next"
ready "$next" "$version" || fail "$version is not fit to serve" "fix it, then build it anew: make image deploy VERSION=$version"
start_proxy
[ -z "${CANARY:-}" ] || [ -z "$live" ] || try_canary

[ "$now" = "$version" ] || before=$now
last=$(cat "$ROUTES" 2>/dev/null) || :
route "$next" "$version" "$before"
if ! answers "$version"; then
  if [ "$live" ]; then printf '%s\n' "$last" >"$ROUTES.new" && mv "$ROUTES.new" "$ROUTES"; else rm "$ROUTES"; fi
  fail "the proxy does not reach $version" "docker logs $NAME-proxy"
fi
[ -z "$live" ] || drain "$live"
recover
[ -z "${PROTECT+set}" ] || prune
say "$version serves on $BIND:$PORT${DOMAIN:+ and https://$DOMAIN}; before it was $was"
echo "$version"
