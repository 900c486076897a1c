# make demo: the whole life of a model on an example, or on DATA=my.csv TARGET=column
# make test: the tests, or those that ARGS="-m 'not slow'" tells pytest; what a part of Debian lacks is skipped
PYTHON ?= python3
BIN := .venv/bin
export PYTHONPATH := src

.PHONY: demo test test-long check lock door wheel release

demo: $(BIN)/copier ## Render a project and run its whole life
	@$(BIN)/python -m lean_mlops.demo $(if $(DATA),--data "$(DATA)") $(if $(TARGET),--target "$(TARGET)") $(if $(ADOPT),--option "$(ADOPT)") $(if $(INTO),--into "$(INTO)")

test-long: override ARGS += --long
test-long: test ## Run all tests, also those that take too long for each change

test: $(BIN)/pytest ## Run the tests: ARGS="-m 'not slow'"
	@! command -v npm >/dev/null || sh scripts/npm-tools.sh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest tests/lifecycle --confcutdir tests/lifecycle -p parts -n 2 --dist loadfile $(ARGS)
	$(BIN)/pytest -n 3 --no-loadscope-reorder $(ARGS)

$(BIN)/python:
	@$(PYTHON) -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer with venv is needed. On Debian: sudo sh scripts/debian.sh base"; exit 1; }
	$(PYTHON) -m venv .venv

$(BIN)/copier: requirements/demo.txt | $(BIN)/python
	@echo "Installing the generator (Copier and uv) into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/demo.txt
	@touch $@

$(BIN)/pytest: requirements/test.txt | $(BIN)/python $(BIN)/copier
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/test.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable template/vendor/lifecycle
	@touch $@

lock: ## Pin the newest versions anew
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-header -o requirements/demo.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-header --no-emit-package lean-mlops-lifecycle --group dev -o requirements/test.txt pyproject.toml

door: $(BIN)/pytest ## Write cookiecutter.json from copier.yml
	@$(BIN)/python scripts/door.py

wheel: $(BIN)/copier ## Build the wheels of the generator and of the library into dist/
	@$(BIN)/uv build --quiet --all-packages --wheel --out-dir dist && ls dist

release: $(BIN)/pytest ## Test updating, write CHANGELOG.md, commit and tag it: VERSION=v1.2.0
	@$(BIN)/python scripts/release.py $(VERSION)
