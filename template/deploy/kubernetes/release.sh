#!/bin/sh
# release.sh [--yes] VERSION [MODEL_FOLDER]: end with this version serving, or with the one before still serving.
# The image is pushed first, unless IMAGE=repository@sha256:… names it. What runs is written into the stage's overlay:
# commit it. The last line on stdout is the version.
# shellcheck source=deploy/kubernetes/common.sh
. "$(dirname "$0")/common.sh"
version=${1:?usage: deploy/kubernetes/release.sh [--yes] VERSION [MODEL_FOLDER]}

need_cluster
former=$(deployed)
revision=$(revision)
[ -z "$(deployed "$NAME-canary")" ] || [ "$STAGE" != production ] ||
  fail "a canary of $(deployed "$NAME-canary") is running: the Service would answer with two voices" \
    "deploy/kubernetes/canary.sh judge, or deploy/kubernetes/canary.sh remove"
confirm "release $version (before it: ${former:-nothing})"
image=$(image "$@")

# take_back WHY: undo what was released, if it is still what is deployed.
take_back() {
  say "$1; the newest events and logs:"
  kube get events --sort-by .lastTimestamp 2>&1 | tail -n 8 >&2
  kube logs --selector "$STABLE,app.kubernetes.io/version=$version" --tail 8 --prefix >&2 || say "(no logs)"
  unpin "$OVERLAY"
  now=$(deployed) || fail "$1, and the cluster does not answer" "make status, as soon as it does"
  [ "$now" = "$version" ] || fail "$1; meanwhile somebody has deployed $now, which is left alone" "make status"
  [ "$revision" ] || fail "$1; there was nothing before it to go back to" \
    "fix it and release again, or: kubectl --context $CONTEXT --namespace $NAMESPACE delete deployment $NAME"
  [ "$(revision)" != "$revision" ] || fail "$1; it is the version that was live already" "make rollback"
  mark "$version" lifecycle/taken-back=yes
  undo_to "$revision" || fail "$1, and going back to $former failed too" "make rollback; make status"
  fail "$1; undone: $former serves" "fix it, then: make deploy VERSION=$version"
}

trap 'take_back "the release was stopped"' INT TERM HUP
pin "$OVERLAY" "$image" "$version"
apply "$OVERLAY" || {
  unpin "$OVERLAY"
  fail "$version was not applied; ${former:-nothing} is left as it was" \
    "read the reason above; may you? kubectl --context $CONTEXT --namespace $NAMESPACE auth can-i --list"
}
kube annotate "deployment/$NAME" --overwrite \
  "kubernetes.io/change-cause=$version by ${LIFECYCLE_BY:-$(git config user.name || id -un)}" >&2 ||
  say "(who released it could not be noted)"
wait_rolled_out || take_back "$version did not roll out"
smoke "$version" || take_back "$version is rolled out but does not answer as it should"
mark "$version" lifecycle/taken-back-
rm -f "$OVERLAY/kustomization.yaml.before"
say "$version serves in $NAMESPACE; before it was ${former:-nothing}. Commit $OVERLAY/kustomization.yaml"
echo "$version"
