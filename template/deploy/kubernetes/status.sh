#!/bin/sh
# status.sh [EXPECTED]: what serves, and what a rollback would start.
# Exit code: 0 fine, 1 not healthy or not EXPECTED, 3 nothing runs.
# shellcheck source=deploy/kubernetes/common.sh
. "$(dirname "$0")/common.sh"

need_cluster
version=$(deployed)
[ "$version" ] || fail "nothing of $NAME is deployed in $NAMESPACE" "make deploy" 3
kube get pods --selector "app.kubernetes.io/name=$NAME,app.kubernetes.io/component=server" \
  --label-columns app.kubernetes.io/version,track
target=$(before "$(revision)")
echo "a rollback would go to: ${target#* }"

image=$(runs)
grep -q "digest: ${image#*@}\$" "$OVERLAY/kustomization.yaml" ||
  echo "the cluster runs $image, $OVERLAY says otherwise: pull, commit it, or make deploy"
kube rollout status "deployment/$NAME" --watch=false
live=$(answer | healthy_version) || live=''
echo "live: ${live:-no good answer}"
[ "$live" ] || fail "$NAME is not healthy" "kubectl --context $CONTEXT --namespace $NAMESPACE logs deployment/$NAME; make rollback"
[ "$live" = "$version" ] || [ "$live" = "$(deployed "$NAME-canary")" ] ||
  fail "$version is deployed, $live answers: a rollout is under way, or stuck" "make status again, or make rollback"
[ "${1:-$version}" = "$version" ] || fail "$1 should be live, not $version" \
  "make deploy, or make promote VERSION=$version if that is what you want"
