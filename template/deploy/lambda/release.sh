#!/bin/sh
# release.sh VERSION [MODEL_FOLDER]: end with this version serving, or with the one before still serving.
# build → upload → publish a version of the function → ask it for its health → move the alias `live`. A version that
# was published before is only moved to; AGAIN=1 publishes anew, for changed settings of the stack. CANARY=10 first
# sends 10 % of the requests for CANARY_SECONDS=300, and goes back when an alarm of the stack goes off. The last line
# on stdout is the version.
#
# The role that releases needs what iam-release.json says (STACK and BUCKET filled in), and to read the registry.
# `make stack` needs the rights to make what template.yaml describes, and iam:CreateRole among them: an administrator's.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/../.."
# As lifecycle/tools.py looks for it.
if [ -x .tools/bin/uv ]; then UV=${UV:-.tools/bin/uv}; fi
UV=${UV:-$(command -v uv)} || { echo "error: uv is not here; next: make setup" >&2 && exit 1; }
exec "$UV" run --no-sync lifecycle lambda release "$@"
