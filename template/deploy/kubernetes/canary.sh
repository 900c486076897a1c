#!/bin/sh
# canary.sh start VERSION [MODEL_FOLDER] | judge | remove: try a version on a share of production's requests.
# judge: enough requests and no worse than stable → release it; worse → remove it; too few → exit code 3, ask later.
# Worse is: a pod is not ready or was restarted, or a rule of the library's deploy/canary.py is broken. It runs here, on
# what each pod's /metrics says, in artifacts/canary: judge where you started it, for there lies what it said before.
STAGE=production
# shellcheck source=deploy/kubernetes/common.sh
. "$(dirname "$0")/common.sh"
usage="usage: deploy/kubernetes/canary.sh [--yes] start VERSION [MODEL_FOLDER] | judge | remove"
verb=${1:?$usage} canary="$NAME-canary" overlay=deploy/kubernetes/overlays/canary metrics=artifacts/canary
UV=${UV:-$([ -x .tools/bin/uv ] && echo .tools/bin/uv || echo uv)}

remove() { kube delete deployment "$canary" --ignore-not-found >&2; }

# ask TRACK start|now: keep what each of the track's pods counts. A pod that does not answer is not ready: it counts nothing.
ask() {
  mkdir -p "$metrics/$1"
  rm -f "$metrics/$1"/*."$2"
  pods=$(kube get pods --selector "app.kubernetes.io/name=$NAME,app.kubernetes.io/component=server,track=$1" \
    --output jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}')
  for pod in $pods; do
    kube get --raw "/api/v1/namespaces/$NAMESPACE/pods/$pod:8000/proxy/metrics" >"$metrics/$1/$pod.$2" ||
      rm "$metrics/$1/$pod.$2"
  done
}

# fit: every pod of the canary is ready and none was ever restarted.
fit() {
  states=$(kube get pods --selector "app.kubernetes.io/name=$NAME,track=canary" --output \
    jsonpath='{range .items[*]}{.status.containerStatuses[0].ready} {.status.containerStatuses[0].restartCount}{"\n"}{end}') ||
    fail "the canary's pods cannot be read" "read the reason above, then: deploy/kubernetes/canary.sh judge"
  [ "$states" ] && ! echo "$states" | grep -qv '^true 0$'
}

judge() {
  version=$(deployed "$canary")
  [ "$version" ] || fail "there is no canary" "deploy/kubernetes/canary.sh start VERSION"
  code=5
  if fit; then
    ask stable now
    ask canary now
    code=0
    "$UV" run --no-sync python -m lifecycle.deploy.canary "$metrics/stable" "$metrics/canary" 0 "$CANARY_REQUESTS" >&2 ||
      code=$?
  else
    say "a pod of it is not ready, or was restarted"
  fi
  case $code in
    0) ;;
    3) fail "$CANARY_REQUESTS requests are needed to tell" "ask again later" 3 ;;
    5) remove && fail "$version is worse: it was removed, stable is untouched" "fix it, then start it again" ;;
    *) fail "$version cannot be judged: it is left as it is" "read the reason above; is make setup done here?" ;;
  esac
  confirm "promote the canary, $version"
  IMAGE=$(runs "$canary")
  remove
  IMAGE=$IMAGE YES=1 deploy/kubernetes/release.sh "$version"
}

need_cluster
case $verb in
  start)
    version=${2:?$usage}
    shift
    [ "$(deployed)" ] || fail "there is nothing to compare $version with" "make deploy"
    confirm "start a canary of $version beside $(deployed)"
    pin "$overlay" "$(image "$@")" "$version"
    if ! apply "$overlay" || ! wait_rolled_out "$canary"; then
      unpin "$overlay"
      remove
      fail "the canary of $version did not become ready: it was removed" "fix it, then start it again"
    fi
    rm -rf "$metrics"
    ask stable start
    rm "$overlay/kustomization.yaml.before"
    say "$version gets its share of requests. In a while: deploy/kubernetes/canary.sh judge"
    ;;
  judge) judge ;;
  remove) remove ;;
  *) fail "there is no verb $verb" "$usage" ;;
esac
