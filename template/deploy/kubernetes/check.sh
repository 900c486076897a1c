#!/bin/sh
# check.sh: every overlay is whole, valid in three Kubernetes versions and keeps the policies; no cluster is asked.
# The annotations checkov.io/skip… say which policies are not kept, and why.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/../.."
# As lifecycle/tools.py looks for it.
if [ -x .tools/bin/uv ]; then UV=${UV:-.tools/bin/uv}; fi
UV=${UV:-$(command -v uv)} || { echo "error: uv is not here; next: make setup" >&2 && exit 1; }
rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT
for folder in deploy/kubernetes/overlays/* deploy/kubernetes/jobs; do
  kubectl kustomize "$folder" >"$rendered/$(basename "$folder").yaml"
done
for version in 1.33 1.35 1.37; do
  "$UV" tool run --from kubernetes-validate==1.37.0 kubernetes-validate --strict --quiet -k "$version" "$rendered"/*.yaml
done
CKV_SKIP_PACKAGE_UPDATE_CHECK=true "$UV" tool run checkov==3.3.30 --directory "$rendered" \
  --framework kubernetes --skip-download --compact --quiet
