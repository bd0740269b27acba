# `make demo` and `make test` are all that a fresh clone needs; `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DOCS   := $(VENV)/.docs
DEVICE := cuda

.PHONY: help demo theory docs floors bench gpu test test-all lint types format wheel clean

help:
	@echo "make demo      a page to play, simulated collapse, a small network beside it; results in runs/demo"
	@echo "make docs      build the site, with all its code run, into docs/_build/html"
	@echo "make test      the tests, without those marked slow"
	@echo "make test-all  every test"
	@echo "make bench     measure reach, accuracy against work, replicas and costs; rewrites docs/benchmarks.md"
	@echo "make gpu       run the cuda tests and measure a GPU in 8 minutes; rewrites docs/gpu.md (DEVICE=cpu: a rehearsal)"
	@echo "make theory    verify the theory at full size; rewrites theory_experiments/results and docs/theorems.md"
	@echo "make floors    measure what float32 and float64 resolve; rewrites docs/floors.md"
	@echo "make lint      the linter;  make types: the type checker;  make format: rewrite the code in house style"
	@echo "make wheel     build the wheel into dist/"
	@echo "make clean     remove the environment and everything built"

$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): packages are downloaded and installed, which takes some minutes without a word."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[experiments,test,dev,bench,xarray,parquet]"
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/ulpm flow --class-counts 50x10 --feature-dim 64 --log10-time 1000 --out runs/demo/random --overwrite
	$(BIN)/ulpm flow --features fashion-mnist-sample --scale 1 --log10-time 300 --out runs/demo/images --overwrite
	$(BIN)/ulpm table runs/demo/random runs/demo/images --out runs/demo/results.md
	$(BIN)/ulpm demo --out runs/demo/demo.html
	$(BIN)/python -m real_experiments train --model vgg13 --width 8 --dataset fashion-mnist-sample --subset 500 \
	    --batch-size 32 --epochs 60 --out runs/demo/network --overwrite
	$(BIN)/python -m real_experiments compare runs/demo/network --out runs/demo/comparison
	@echo "Now open runs/demo/demo.html, and see runs/demo/results.md and runs/demo/comparison/comparison.md."

$(DOCS): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $(DOCS)

docs: $(DOCS)
	$(BIN)/python -m sphinx -W --keep-going --fresh-env -j auto -b html -c docs . docs/_build/html

theory: $(STAMP)
	$(BIN)/python -m theory_experiments --out theory_experiments/results
	$(BIN)/python -m theory_experiments --out theory_experiments/results --theorems-page docs/theorems.md

floors: $(STAMP)
	$(BIN)/python docs/measure_floors.py

bench: $(STAMP)
	$(BIN)/python tests/benchmarks/run.py

# Installs nothing: a machine with a GPU often has a torch of its own, and no network.
gpu:
	PYTHONPATH="$(CURDIR)$${PYTHONPATH:+:$$PYTHONPATH}" $(if $(wildcard $(STAMP)),$(BIN)/python,$(PYTHON)) \
	    tests/benchmarks/gpu.py --device $(DEVICE)

test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses auto -m "not slow"

test-all: $(STAMP)
	$(BIN)/python -m pytest --numprocesses auto

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(STAMP)
	$(BIN)/python -m build --wheel --outdir dist

clean:
	rm -rf $(VENV) dist build docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
