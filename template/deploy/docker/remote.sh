#!/bin/sh
# remote.sh VERB: make VERB in this project's folder on the host that serves, with the .env there. `make deploy`, `rollback`
# and `status` call it when DEPLOY_HOST is set. A release first checks out this commit there; a rollback needs no git.
# DEPLOY_HOST: ssh://deploy@models.example.com, for ssh. DEPLOY_FOLDER: the clone there. For CI, as text: DEPLOY_KEY, a
# private key, and DEPLOY_KNOWN_HOSTS, what `ssh-keyscan HOST` says of the host; without them ssh uses what you have.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/../.."
verb=${1:?usage: DEPLOY_HOST=ssh://… deploy/docker/remote.sh VERB}

fail() {
  printf 'error: %s\nnext:  %s\n' "$1" "$2" >&2
  exit 1
}
[ "${DEPLOY_HOST:-}" ] || fail "DEPLOY_HOST is not set" "DEPLOY_HOST=ssh://deploy@models.example.com make $verb"
[ "${DEPLOY_FOLDER:-}" ] || fail "DEPLOY_FOLDER is not set" "DEPLOY_FOLDER=/srv/models: where the project is cloned there"

# A reason may hold anything: quoted it stays a word for the shell, and in the environment one for make, too.
quoted() { printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }
command="cd $(quoted "$DEPLOY_FOLDER") && set -a && if [ -f .env ]; then . ./.env; fi && set +a"
if [ "$verb" = deploy ]; then
  command="$command && git fetch --quiet && git checkout --quiet --detach $(git rev-parse HEAD) && make setup"
fi
command="$command &&"
for name in STAGE VERSION IMAGE CANARY AGAIN WHY LIFECYCLE_BY; do
  value=$(printenv "$name") || continue
  [ -z "$value" ] || command="$command $name=$(quoted "$value")"
done

secrets=$(mktemp -d)
trap 'rm -rf "$secrets"' EXIT
trap 'exit 143' INT TERM HUP
if [ "${DEPLOY_KEY:-}" ]; then
  (umask 077 && printf '%s\n' "$DEPLOY_KEY" | tr -d '\r' >"$secrets/key")
  set -- -i "$secrets/key" -o IdentitiesOnly=yes
else
  set --
fi
if [ "${DEPLOY_KNOWN_HOSTS:-}" ]; then
  printf '%s\n' "$DEPLOY_KNOWN_HOSTS" >"$secrets/hosts"
  set -- "$@" -o "UserKnownHostsFile=$secrets/hosts"
fi
ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=20 "$@" -- "$DEPLOY_HOST" "$command make $verb" ||
  fail "make $verb on $DEPLOY_HOST ended with $?" "read the reason above; is it reached? ssh $DEPLOY_HOST true"
