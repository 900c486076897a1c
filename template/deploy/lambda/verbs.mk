# The Makefile's verbs for this deployment. STAGE=staging is another stack, NAME-staging, and has the alias staging.
.PHONY: windows package stack deploy rollback status

# The version that has the alias production, or STAGE's.
PRODUCTION = $(RUN) lifecycle versions | awk '/$(or $(STAGE),production)/ {print $$1}'

windows: #> Fetch the counts of what AWS served, for make drift
	@$(RUN) lifecycle lambda windows

package: #> Build the package of staging, or of VERSION=…
	@version=$$($(RUN) lifecycle fetch $(or $(VERSION),staging) --to build/model) && \
	$(RUN) lifecycle lambda package "$$version"

stack: #> Create or change what runs in AWS, once and seldom: BUCKET=… PARAMETERS="…" STAGE=staging
	@version=$$($(RUN) lifecycle fetch $(STAGE) --to build/model) && $(RUN) lifecycle lambda stack "$$version"

deploy: ## Release production, or VERSION=…, in AWS: CANARY=10 (percent) STAGE=staging
	@version=$$($(RUN) lifecycle fetch $(or $(VERSION),$(STAGE)) --to build/model) && \
	deploy/lambda/release.sh "$$version" >/dev/null

rollback: ## Return to the version before: the function in a second, then the registry: WHY="…"
	@[ "$${STAGE:-production}" = production ] || exec deploy/lambda/rollback.sh; \
	live=$$(deploy/lambda/rollback.sh) || [ $$? = 3 ] || exit; \
	[ "$$live" ] || echo "nothing is deployed: only the registry is rolled back; restart make serve if it runs"; \
	$(RUN) lifecycle rollback $${live:+--to "$$live"}

status: ## Show what serves, and whether it is what has the alias production
	@expected=$$($(PRODUCTION)); deploy/lambda/status.sh "$${expected:-nothing}"
