#!/bin/sh
# rollback.sh [--yes]: back to the version that served before, by its ReplicaSet. No build, no push.
# The only line on stdout is the version that serves now. FROM=VERSION: only if that serves; else exit code 6.
# Exit code 3: nothing of this project is there.
# shellcheck source=deploy/kubernetes/common.sh
. "$(dirname "$0")/common.sh"

need_cluster
from=$(deployed)
[ "$from" ] || fail "nothing of $NAME is deployed in $NAMESPACE" "make deploy" 3
[ "${FROM:-$from}" = "$from" ] || fail "$from serves here by now, not $FROM" "decide again: make status" 6
revision=$(revision)
target=$(before "$revision")
to=${target#* } target=${target% *}
[ "$target" ] || fail "there is no version before $from here" "uv run lifecycle versions, then make deploy VERSION=…"
confirm "roll back from $from to $to"
if ! undo_to "$target"; then
  say "$to does not serve: putting back $from"
  undo_to "$revision" || fail "$to does not serve, and neither does $from" "make status, make deploy VERSION=…"
  fail "$to did not get healthy; $from serves again" "make deploy VERSION=… of one that did"
fi
mark "$from" lifecycle/taken-back=yes
pin "$OVERLAY" "$(runs)" "$to"
rm "$OVERLAY/kustomization.yaml.before"
say "$to serves again. Commit $OVERLAY/kustomization.yaml"
echo "$to"
