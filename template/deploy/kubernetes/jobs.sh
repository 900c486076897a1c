#!/bin/sh
# jobs.sh install|remove: the CronJobs that retrain and that check for drift, beside production.
# Their image is built from the Dockerfile's target train and pushed, unless IMAGE=repository@sha256:… names it.
STAGE=production
# shellcheck source=deploy/kubernetes/common.sh
. "$(dirname "$0")/common.sh"
verb=${1:?usage: deploy/kubernetes/jobs.sh [--yes] install|remove} folder=deploy/kubernetes/jobs

# train_image: build and push it; tagged with the commit that it holds, and printed by digest.
train_image() {
  [ "${IMAGE_REGISTRY:-}" ] || fail "IMAGE_REGISTRY is not set" "IMAGE_REGISTRY=registry.example.com/team make schedule"
  commit=$(git describe --always --dirty --abbrev=40 --exclude='*')
  tag="$IMAGE_REGISTRY/$NAME-train:$commit"
  deploy/image.sh engine
  DOCKER_BUILDKIT=1 docker build --target train --build-arg "GIT_COMMIT=$commit" --tag "$tag" . >&2
  docker push "$tag" >&2
  docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$tag" |
    grep "^$IMAGE_REGISTRY/$NAME-train@" | tail -n 1
}

need_cluster
case $verb in
  install)
    kube get secret "$NAME-registry" >/dev/null || fail "$NAMESPACE has no secret $NAME-registry" \
      "kubectl --context $CONTEXT --namespace $NAMESPACE create secret generic $NAME-registry --from-env-file=.env"
    ! grep -q "claimName: $NAME-counts" "$folder/jobs.yaml" || kube get persistentvolumeclaim "$NAME-counts" >/dev/null ||
      fail "the jobs share what the servers count, and what they know, and $NAMESPACE has no claim $NAME-counts" \
        "turn on counts.yaml in $OVERLAY/kustomization.yaml and make deploy; or take $NAME-drift and the claim out of $folder/jobs.yaml"
    confirm "schedule retraining and the drift check"
    pin "$folder" "${IMAGE:-$(train_image)}" ""
    apply "$folder" || {
      unpin "$folder"
      fail "the jobs were not applied" "read the reason above"
    }
    rm "$folder/kustomization.yaml.before"
    say "scheduled. Now and then: kubectl --context $CONTEXT --namespace $NAMESPACE get cronjobs,jobs"
    ;;
  remove)
    confirm "take retraining and the drift check away"
    kube delete --kustomize "$folder" --ignore-not-found >&2
    ;;
  *) fail "there is no verb $verb" "jobs.sh install, or jobs.sh remove" ;;
esac
