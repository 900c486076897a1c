# The Makefile's verbs for this deployment. STAGE=staging stands beside production, on port 8001, and has the alias staging.
.PHONY: deploy rollback status drill

# The version that has the alias production, or STAGE's.
PRODUCTION = $(RUN) lifecycle versions | awk '/$(or $(STAGE),production)/ {print $$1}'

ifdef DEPLOY_HOST # the same on that host, by ssh
deploy rollback status:
	@deploy/docker/remote.sh $@
else
deploy: ## Release production, or VERSION=…, on this machine's Docker: PORT=8000 CANARY=10 STAGE=staging
	@version=$$($(RUN) lifecycle fetch $(or $(VERSION),$(STAGE)) --to build/model) && \
	aliased=$$($(RUN) lifecycle versions | awk 'NF > 1 {print $$1}') && \
	PROTECT=$$(echo $$aliased) deploy/docker/release.sh "$$version" >/dev/null

rollback: ## Back to the version before: the container in seconds, then the registry: WHY="…"
	@[ "$${STAGE:-production}" = production ] || exec deploy/docker/rollback.sh; \
	live=$$(deploy/docker/rollback.sh) || [ $$? = 3 ] || exit; \
	[ "$$live" ] || echo "nothing is deployed here: only the registry is rolled back; restart make serve if it runs"; \
	$(RUN) lifecycle rollback $${live:+--to "$$live"}

status: ## What serves, and whether it is what has the alias production
	@expected=$$($(PRODUCTION)); deploy/docker/status.sh "$${expected:-nothing}"
endif

drill: #> Rehearse beside what serves: releases, rollbacks and faults under load; FLAGS="--releases 20 --rate 100"
	@$(RUN) lifecycle drill $(FLAGS)
