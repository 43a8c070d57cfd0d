# Every target sets up .venv by itself (install.sh) and reuses it the next time.
PYTHON := .venv/bin/python
export PYTHONUNBUFFERED := 1

.PHONY: help install demo demo-train test test-fast test-endurance test-vot lint bench clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install:  ## make .venv and install everything into it
	@bash install.sh --venv

demo: install  ## render videos, train a little, track with the bundled weights, plot: output/demo (a minute or two)
	$(PYTHON) tracking/demo.py $(DEMO_FLAGS)

demo-train: install  ## train the bundled weights again: output/demo_train (hours on two cores)
	$(PYTHON) tracking/train_demo.py $(DEMO_FLAGS)

# Two processes with one thread each: most tests wait for a process to import torch.
PYTEST := OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist loadfile
# By the number of tests, which is the default, files with few long ones come last, one beside an idle core.
IN_ORDER := --no-loadscope-reorder

test: install  ## run all tests
	$(PYTEST) $(IN_ORDER)

test-fast: install  ## run the tests that are not marked slow
	$(PYTEST) $(IN_ORDER) -m "not slow"

test-endurance: install  ## run the few tests that `make test` leaves out, since they take long
	$(PYTEST) -m endurance

test-vot: install  ## run the tests that need the VOT toolkit, which gets an environment of its own (.venv-vot)
	@test -x .venv-vot/bin/vot || .venv/bin/python -m venv .venv-vot
	@.venv-vot/bin/python -m pip install --quiet --disable-pip-version-check vot-toolkit==0.7.4 attributee==0.1.9
	SEQTRACK_VOT=.venv-vot $(PYTHON) -m pytest -m vot

lint: install  ## check style, formatting, and the types of the library
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: install  ## measure speed against plain versions in the same run
	@for script in benchmarks/*.py; do echo "== $$script"; $(PYTHON) $$script || exit 1; done

clean:  ## remove caches and the demo's output (data, checkpoints, results and .venv stay)
	rm -rf output/demo .pytest_cache .ruff_cache .mypy_cache build *.egg-info
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
