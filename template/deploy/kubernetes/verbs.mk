# The Makefile's verbs for this deployment. STAGE=staging is another namespace, and the alias staging; YES=1 answers
# what production asks.
.PHONY: deploy rollback status

# The version that has the alias production, or STAGE's.
PRODUCTION = $(RUN) lifecycle versions | awk '/$(or $(STAGE),production)/ {print $$1}'

deploy: ## Release production, or VERSION=…, on the cluster: STAGE=staging YES=1
	@version=$$($(RUN) lifecycle fetch $(or $(VERSION),$(STAGE)) --to build/model) && \
	deploy/kubernetes/release.sh "$$version" >/dev/null

rollback: ## Back to the version before: the cluster first, then the registry: WHY="…" YES=1
	@[ "$${STAGE:-production}" = production ] || exec deploy/kubernetes/rollback.sh; \
	live=$$(deploy/kubernetes/rollback.sh) || [ $$? = 3 ] || exit; \
	[ "$$live" ] || echo "nothing is deployed: only the registry is rolled back; restart make serve if it runs"; \
	$(RUN) lifecycle rollback $${live:+--to "$$live"}

status: ## What serves, and whether it is what has the alias production
	@expected=$$($(PRODUCTION)); deploy/kubernetes/status.sh "$${expected:-nothing}"
