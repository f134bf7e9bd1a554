# make run    the experiment of config/config.yaml, or CONFIG=config/experiments/NAME.yaml
# make plan   how long it will take and how much memory, before anything is trained; GPU=h100: on a GPU that is not here
# make test   every test
# make slurm  the tests of a SLURM cluster that `make test` leaves out (root, some minutes)
# make large  records of 5 GB, which `make test` leaves out too (some minutes)
# make lint   format and lint of Python and rules        make lock   new versions in envs/requirements.txt
# make wheels   the lock as files, for machines without a network      make environments   envs/* that derive from the lock
# make coverage   do intervals of planted laws hold the truth? (minutes; keeps benchmarks/coverage.csv)

PYTHON ?= python3
CONFIG ?= config/config.yaml
BIN := .venv/bin

.PHONY: run plan test slurm large lint format lock environments wheels coverage
.DELETE_ON_ERROR:

run: .venv/ready
	@$(BIN)/python -m workflow_scripts.launch --configfile $(CONFIG)

plan: .venv/ready
	@$(BIN)/python -m workflow_scripts.training.estimate --configfile $(CONFIG) $(if $(GPU),--gpu $(GPU))

test: .venv/ready
	@$(BIN)/python -m pytest -n 2 --no-loadscope-reorder

slurm: .venv/ready
	@$(BIN)/python -m pytest -m cluster

large: .venv/ready
	@$(BIN)/python -m pytest tests/corpora/large_input.py

coverage: .venv/ready
	@$(BIN)/python -m benchmarks.coverage

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

.venv/ready: envs/requirements.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed, found %s: try make PYTHON=python3.11 ..." % sys.version.split()[0])'
	$(PYTHON) -m venv $(or $(realpath .venv),.venv)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement envs/requirements.txt
	@touch $@

# One lock for every supported Python; torch's own dependencies differ by platform and device, so torch pins them.
lock: .venv/ready
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header envs/requirements.in envs/dev.in \
		| grep -vE '^(nvidia-|cuda-|triton)' | sed -E 's/^(torch==[0-9.]+).*/\1/' | uniq > envs/requirements.new
	mv envs/requirements.new envs/requirements.txt
	@$(MAKE) environments

environments:
	$(PYTHON) envs/derive.py

wheels: .venv/ready
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --wheel-dir wheels --requirement envs/requirements.txt
