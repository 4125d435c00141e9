# Everything a contributor or a newcomer runs.  `make` alone prints this help.
# Needed: Python 3.11 or later with venv, make and git; uv is used where it is there.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.telebeam-setup
WORKERS ?= 2
TESTS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo stream-demo test lint types check bench bench-stream services clean

help: ## Print this help
	@echo "telebeam: columnar Apache Beam pipelines for IoT telemetry"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with the telebeam command and everything that tests need

$(STAMP): setup.py requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "telebeam needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "== setting up $(VENV): two to five minutes the first time"
	@if command -v uv > /dev/null; then \
	  uv venv --quiet --clear --python "$$(command -v $(PYTHON))" $(VENV) && \
	  uv pip install --quiet --python $(BIN)/python --compile-bytecode -r requirements.txt -e '.[dev]'; \
	else \
	  $(PYTHON) -m venv --clear $(VENV) && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -e '.[dev]'; \
	fi
	@touch $(STAMP)

demo: $(STAMP) ## Simulate a fleet, archive it as Parquet, run the batch job into a lake, print what came out
	@echo "== simulating 200 devices for two hours, with faults, into demo/archive"
	@$(BIN)/telebeam simulate --devices 200 --interval 5s --duration 2h --seed 7 \
	  --faults spike=0.001,out_of_range=0.002,missing=0.001,malformed=0.001,future=0.0005,duplicate=0.001,stuck=0.01 \
	  --to parquet:demo/archive
	@echo "== running examples/demo.yaml over it into demo/lake"
	@$(BIN)/telebeam run examples/demo.yaml

stream-demo: $(STAMP) ## The streaming job, live for two minutes, and what came out.  STREAM_DEMO="--seconds 40"
	@$(BIN)/python -m examples.streaming.demo $(STREAM_DEMO)

test: $(STAMP) ## Run all tests, those with real servers included; TESTS=path to run some
	@echo "== tests, on $(WORKERS) workers; the first run builds the servers it needs where it can, and says so"
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(TESTS)

lint: $(STAMP) ## Style and format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(STAMP) ## Strict types, through links that give the folders their installed names
	@mkdir -p .typecheck/telebeam
	@for top in pipelines transforms io dashboards; do ln -sfn ../../$$top .typecheck/telebeam/$$top; done
	@cd .typecheck && ../$(BIN)/mypy --config-file ../pyproject.toml -p telebeam

check: lint types test ## What CI runs

bench: $(STAMP) ## Measure against DuckDB and textbook Beam; some 15 minutes.  BENCH=--quick for three
	@$(BIN)/python -m benchmarks.run $(BENCH)

bench-stream: $(STAMP) ## Measure the streaming job; some 30 minutes.  BENCH="--only latency --minutes 2" for less
	@$(BIN)/python -m benchmarks.streaming $(BENCH)

services: $(STAMP) ## Build and cache the servers that tests need, under ~/.cache/telebeam/services
	@$(BIN)/python tests/services/influxdb.py
	@$(BIN)/python tests/services/prism.py
	@for server in kafka pubsub flink; do $(BIN)/python tests/services/$$server.py --install || exit; done

clean: ## Remove the environment, the demo's output and caches; built servers stay
	rm -rf $(VENV) .typecheck .pytest_cache .ruff_cache .mypy_cache .hypothesis demo build dist *.egg-info
