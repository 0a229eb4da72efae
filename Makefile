# Two commands do everything: `make run` and `make test`. `make help` lists the rest.
# The environment is .venv, built from requirements.lock by uv; uv itself is fetched into .uv if the machine has none.

SHELL := /bin/bash
UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
PYTHON := .venv/bin/python
ARGS ?=
# Two processes, each of which takes file by file, those of whole runs first (tests/conftest.py).
PYTEST := $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

export PYTHONPATH := $(CURDIR)
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test bench accuracy flink picture quick lint types imports format lock env image clean

help:  ## list these targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

run: env  ## run the whole pipeline on the built-in sample (ARGS="--epochs 3" passes flags on)
	$(PYTHON) local_runner.py $(ARGS)

test: env lint types imports  ## check style, types and layers, then run every test
	$(PYTEST) $(ARGS)

quick: env  ## run the tests that train no models on whole data sets
	$(PYTEST) --ignore tests/test_end_to_end.py --ignore tests/test_sample_run.py $(ARGS)

lint: env  ## check style and formatting
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: env  ## check types
	$(PYTHON) -m mypy

imports: env  ## check that imports go one way: runners, pipeline, components, models
	.venv/bin/lint-imports

format: env  ## rewrite the code in the project's format
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

bench: env  ## measure reading, ingestion, training, served pixels and evaluation (ARGS="--data photos" for photos of your own)
	$(PYTHON) benchmarks/reading.py
	$(PYTHON) benchmarks/ingest.py $(ARGS)
	$(PYTHON) benchmarks/pixels.py $(ARGS)
	$(PYTHON) benchmarks/input_pipeline.py $(ARGS)
	$(PYTHON) benchmarks/training.py $(ARGS)
	$(PYTHON) benchmarks/evaluation.py

accuracy: env  ## prove both models on photos of your own (ARGS="--data photos --weights FILE"), some hours
	$(PYTHON) benchmarks/match.py $(ARGS)
	$(PYTHON) benchmarks/breed.py $(ARGS)

flink: env .flink/.complete  ## prove a run on a Flink cluster of two task managers (needs Java 17 and Maven), half an hour
	$(PYTHON) benchmarks/flink.py --flink .flink/lib --server .flink/server $(ARGS)

picture: env  ## draw the graph again, from its code, into docs/graph.svg
	$(PYTHON) -m pipeline.pages.graph_picture docs/graph.svg

lock: $(UV)  ## resolve pyproject.toml into requirements.lock again
	$(UV) pip compile --python-version 3.11 --universal --generate-hashes --no-emit-index-url --all-extras \
	  --custom-compile-command "make lock" --quiet pyproject.toml -o requirements.lock

env: .venv/.complete  ## build the environment from the lock

image: env  ## build the image of the tasks at Vertex (IMAGE=HOST/PATH:TAG)
	@test -n "$(IMAGE)" || { echo "make image: say what to call it: make image IMAGE=HOST/PATH:TAG"; exit 2; }
	@docker info > /dev/null 2>&1 || { echo "make image: no Docker daemon answers here: start it, or build on a machine that has one"; exit 2; }
	docker build --platform linux/amd64 --build-arg CODE=$$($(PYTHON) -c "from components import digests; print(digests.of_project())") --tag $(IMAGE) .
	@echo "built $(IMAGE); push it: docker push $(IMAGE)"

clean:  ## delete the environment (your output folders stay)
	rm -rf .venv .uv .flink

.venv/.complete: requirements.lock | $(UV)
	@echo "building the environment in .venv: 3.6 GB, a minute or, with a slow network, some more"
	@$(UV) venv --quiet --allow-existing --python 3.11 .venv
	@$(UV) pip sync --quiet --python $(PYTHON) --require-hashes --compile-bytecode requirements.lock
	@touch $@

.flink/.complete: benchmarks/flink.xml benchmarks/flink.txt
	@echo "fetching Flink and Beam's job server into .flink: 400 MB, some minutes"
	@mvn --quiet --batch-mode --file benchmarks/flink.xml dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/.flink/server
	@python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest .flink --requirement benchmarks/flink.txt
	@mkdir -p .flink/lib && tar --extract --gzip --file .flink/apache-flink-libraries-*.tar.gz --directory .flink/lib --strip-components 3 --wildcards '*/deps/lib/*.jar'
	@touch $@

.uv/bin/uv:
	python3 -m pip install --quiet --disable-pip-version-check --target .uv uv==$(UV_VERSION)
