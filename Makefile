# make demo   audit a model with planted failures, on the bundled photographs
# make test   format, lint, types and tests
# make bench  fdgpu beside what people run instead, the solver and caption encoding; about a quarter of an hour
#             (on a CUDA device: python -m benchmarks.device --out results, see docs/benchmarks.md)

PYTHON ?= python3
VENV ?= .venv
OUT ?= demo-report
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test bench clean

demo: $(INSTALLED)
	$(BIN)/fdgpu demo --decode --out $(OUT)

test: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.speed.captions

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "fdgpu needs Python 3.11 to 3.13, $(PYTHON) is $$($(PYTHON) -V 2>&1): set PYTHON=python3.12, say"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) $(OUT)
