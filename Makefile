# make demo | test | check | bench. Needs Python 3.11 or later, a C compiler and make; everything else is installed
# into .venv (and .venv-tflite, for the second interpreter) inside this folder.

# The first of these that runs and is new enough; a name on the PATH may be only a version manager's stand-in.
find-python = $(shell for p in $(1); do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PYTHON ?= $(call find-python,python3 python3.13 python3.12 python3.11)
# tflite-runtime has no wheels for later Pythons.
PYTHON311 ?= $(call find-python,python3.11)
PIP_FLAGS := --quiet --disable-pip-version-check
VENV := .venv/bin
TFLITE := .venv-tflite/bin
SOURCES := setup.py pyproject.toml runtime/_decode.pyx

.PHONY: demo test check bench clean

# IMAGE=photo.jpg for a picture of your own.
demo: .venv/demo.stamp
	@$(VENV)/python -m edgepose.benchmarks.demo $(if $(IMAGE),--image "$(IMAGE)")

test: .venv/dev.stamp build/checked/stamp $(if $(PYTHON311),.venv-tflite/dev.stamp)
	$(VENV)/python -m pytest $(PYTEST_FLAGS)
	@echo "== the kernel with every array access checked"
	PYTHONPATH=build/checked $(VENV)/python -m pytest tests/test_decoder.py tests/test_decoder_defects.py $(PYTEST_FLAGS)
ifeq ($(PYTHON311),)
	@echo "== tflite-runtime not tested: it needs Python 3.11"
else
	@echo "== the same tests with tflite-runtime"
	EDGEPOSE_INTERPRETER=tflite-runtime $(TFLITE)/python -m pytest $(PYTEST_FLAGS)
endif

check: .venv/dev.stamp
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	@mkdir -p build/typing/edgepose
	@for part in convert runtime device benchmarks; do ln -sfn ../../../$$part build/typing/edgepose/$$part; done
	$(VENV)/mypy -p edgepose

bench: .venv/dev.stamp
	$(VENV)/python -m edgepose.benchmarks

.venv/demo.stamp: $(SOURCES)
	@test -n "$(PYTHON)" || { echo "edgepose needs Python 3.11 or later; set PYTHON=/path/to/python" >&2; exit 2; }
	@echo "installing into .venv; TensorFlow is large, the first time takes a few minutes"
	@test -x $(VENV)/python || $(PYTHON) -m venv .venv
	@$(VENV)/python -m pip install $(PIP_FLAGS) --upgrade pip
	@$(VENV)/python -m pip install $(PIP_FLAGS) --editable '.[convert]'
	@touch $@

.venv/dev.stamp: .venv/demo.stamp
	$(VENV)/python -m pip install $(PIP_FLAGS) --editable '.[convert,eval,dev]'
	@touch $@

.venv-tflite/dev.stamp: $(SOURCES)
	test -x $(TFLITE)/python || $(PYTHON311) -m venv .venv-tflite
	$(TFLITE)/python -m pip install $(PIP_FLAGS) --upgrade pip
	$(TFLITE)/python -m pip install $(PIP_FLAGS) --editable '.[tflite,eval,dev]'
	@touch $@

build/checked/stamp: .venv/dev.stamp $(SOURCES) $(wildcard runtime/*.py runtime/*/*.py convert/*.py)
	@rm -rf build/checked && mkdir -p build
	@echo "building the kernel with every array access checked"
	@EDGEPOSE_BOUNDSCHECK=1 $(VENV)/python setup.py --quiet build --build-base build/checked-temp \
	    --build-lib build/checked > build/checked.log 2>&1 || { cat build/checked.log; exit 1; }
	@touch $@

clean:
	rm -rf .venv .venv-tflite build dist *.egg-info runtime/*.so
