#!/bin/sh
# canary.sh start VERSION [MODEL_FOLDER] | judge | remove: try a version on a share of production's requests.
# judge: enough requests and no worse than stable → release it; worse → remove it; too few → exit code 3, ask later.
# Worse is: not every pod ready and never restarted, or a share of requests not answered with 200 that is one in a
# hundred larger than stable's, or half as slow again on average.
STAGE=production
# shellcheck source=deploy/kubernetes/common.sh
. "$(dirname "$0")/common.sh"
usage="usage: deploy/kubernetes/canary.sh [--yes] start VERSION [MODEL_FOLDER] | judge | remove"
verb=${1:?$usage} canary="$NAME-canary" overlay=deploy/kubernetes/overlays/canary

remove() { kube delete deployment "$canary" --ignore-not-found >&2; }

# seen TRACK: "requests, share not answered with 200, mean seconds" over the track's pods, each since it started.
seen() {
  pods=$(kube get pods --selector "app.kubernetes.io/name=$NAME,app.kubernetes.io/component=server,track=$1" \
    --output jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}')
  for pod in $pods; do
    kube get --raw "/api/v1/namespaces/$NAMESPACE/pods/$pod:8000/proxy/metrics"
  done | awk '
    /^requests_total/ { all += $NF; if ($0 !~ /status="200"/) bad += $NF }
    /^request_seconds_sum/ { seconds += $NF }
    END { printf "%d %.4f %.6f\n", all, all ? bad / all : 0, all ? seconds / all : 0 }'
}

# fit: every pod of the canary is ready and none was ever restarted.
fit() {
  states=$(kube get pods --selector "app.kubernetes.io/name=$NAME,track=canary" --output \
    jsonpath='{range .items[*]}{.status.containerStatuses[0].ready} {.status.containerStatuses[0].restartCount}{"\n"}{end}')
  [ "$states" ] && ! echo "$states" | grep -qv '^true 0$'
}

judge() {
  version=$(deployed "$canary")
  [ "$version" ] || fail "there is no canary" "deploy/kubernetes/canary.sh start VERSION"
  stable=$(seen stable) trial=$(seen canary)
  say "         requests  not 200  mean seconds"
  say "stable   $stable"
  say "canary   $trial"
  verdict=worse
  ! fit || verdict=$(echo "$stable $trial" | awk -v enough="$CANARY_REQUESTS" '{
    if ($5 > $2 + 0.01 || ($4 >= enough && $1 && $6 > 1.5 * $3)) print "worse"
    else print $4 < enough ? "too few" : "fit" }')
  case $verdict in
    worse) remove && fail "$version is worse: it was removed, stable is untouched" "mend it, then start it again" ;;
    "too few") fail "$CANARY_REQUESTS requests are needed to tell" "ask again later" 3 ;;
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
      fail "the canary of $version did not become ready: it was removed" "mend it, then start it again"
    fi
    rm "$overlay/kustomization.yaml.before"
    say "$version gets its share of requests. In a while: deploy/kubernetes/canary.sh judge"
    ;;
  judge) judge ;;
  remove) remove ;;
  *) fail "there is no verb $verb" "$usage" ;;
esac
