#!/bin/sh
# rollback.sh: point the alias `live` back at the function's version before, all requests at once, and end a canary.
# Nothing is built or uploaded. The only line on stdout is the version that serves now. Exit code 3: nothing deployed.
# FROM=VERSION: only if that serves; else exit code 6.
#
# Without Python, the same by AWS's own command line; the description of `live` says which N comes before:
#   aws lambda get-alias --function-name NAME --name live
#   aws lambda update-alias --function-name NAME --name live --function-version N \
#     --routing-config 'AdditionalVersionWeights={}'
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/../.."
# As lifecycle/tools.py looks for it.
if [ -x .tools/bin/uv ]; then UV=${UV:-.tools/bin/uv}; fi
UV=${UV:-$(command -v uv)} || { echo "error: uv is not here; next: make setup" >&2 && exit 1; }
exec "$UV" run --no-sync lifecycle lambda rollback
