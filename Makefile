# make demo | test | test-family | check | bench | instructions | docs. Needs Python 3.11 or later, a C compiler and make; everything else is installed
# into .venv (and .venv-tflite, for the second interpreter) inside this folder.

# The first of these that runs and is new enough; a name on the PATH may be only a version manager's stand-in.
find-python = $(shell for p in $(1); do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PYTHON ?= $(call find-python,python3 python3.13 python3.12 python3.11)
# tflite-runtime has no wheels for later Pythons.
PYTHON311 ?= $(call find-python,python3.11)
# Named here because a comma ends an argument of $(call).
FOR_DEMO := .
FOR_TESTS := '.[convert,onnx,eval,camera,edit,video,deploy,dev]'
FOR_TFLITE := '.[tflite,eval,camera,edit,video,deploy,dev]'
# pip's and the compiler's words are shown only when something fails.
logged = mkdir -p build && $(1) > build/install.log 2>&1 || { cat build/install.log >&2; exit 1; }
pip = $(call logged,$(1)/python -m pip install --disable-pip-version-check $(2))
# Debian packs these apart from Python. Checked first, because the compiler runs only after a minute of downloads.
define check-tools
	@test -n "$(PYTHON)" || { echo "edgepose needs Python 3.11 or later; set PYTHON=/path/to/python" >&2; exit 2; }
	@missing=; command -v $${CC:-cc} > /dev/null || missing=" gcc"; \
	$(PYTHON) -c 'import ensurepip' 2> /dev/null || missing="$$missing python3-venv"; \
	test -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || missing="$$missing python3-dev"; \
	test -z "$$missing" || { echo "missing:$$missing; on Debian and Ubuntu: sudo apt install$$missing" >&2; exit 2; }
endef
# Tests run on all cores.
PYTEST_FLAGS ?= -n auto
VENV := .venv/bin
TFLITE := .venv-tflite/bin
SOURCES := setup.py pyproject.toml $(wildcard runtime/*.pyx runtime/*.pxi)

.PHONY: demo test test-data test-family test-pi test-boards test-clean wheels docs soak fuzz train-default check bench bench-compare instructions reference clean

# IMAGE=photo.jpg for an image of your own.
demo: .venv/demo.stamp
	@$(VENV)/python -m edgepose.benchmarks.demo $(if $(IMAGE),--image "$(IMAGE)")

test: .venv/dev.stamp build/checked/stamp $(if $(PYTHON311),.venv-tflite/dev.stamp)
	EDGEPOSE_LIST_SKIPPED=build/need-data.txt $(VENV)/python -m pytest $(PYTEST_FLAGS)
	@echo "== the kernel with every array access checked"
	PYTHONPATH=build/checked $(VENV)/python -m pytest tests/runtime/test_decoder.py tests/runtime/test_decoder_defects.py $(PYTEST_FLAGS)
ifeq ($(PYTHON311),)
	@echo "== tflite-runtime not tested: it needs Python 3.11"
else
	@echo "== the same tests with tflite-runtime"
	EDGEPOSE_LIST_SKIPPED=build/need-data-tflite.txt EDGEPOSE_INTERPRETER=tflite-runtime \
		$(TFLITE)/python -m pytest -m 'not slow and not boards and not once and not convert' $(PYTEST_FLAGS)
endif

# After `make test` without EDGEPOSE_MODELS and EDGEPOSE_TEST_DATA: the tests that were skipped then, with the variables set now.
test-data: .venv/dev.stamp
	@test -e build/need-data.txt || { echo "run make test first, without EDGEPOSE_MODELS and EDGEPOSE_TEST_DATA" >&2; exit 2; }
	@test ! -s build/need-data.txt || $(VENV)/python -m pytest @build/need-data.txt $(PYTEST_FLAGS)
	@test ! -s build/need-data-tflite.txt || EDGEPOSE_INTERPRETER=tflite-runtime \
		$(TFLITE)/python -m pytest -m 'not slow and not once and not convert' @build/need-data-tflite.txt $(PYTEST_FLAGS)

# Every network in every precision, converted and run in both interpreters.
test-family: .venv/dev.stamp $(if $(PYTHON311),.venv-tflite/dev.stamp)
	@rm -rf build/family && mkdir -p build/family
	FAMILY_FOLDER=$(CURDIR)/build/family $(VENV)/python -m pytest tests/convert/test_family.py -m slow -k converts $(PYTEST_FLAGS)
	$(VENV)/python -m pytest tests/test_examples.py tests/test_getting_started.py -m slow -p no:xdist
ifneq ($(PYTHON311),)
	@echo "== the same files in tflite-runtime"
	FAMILY_FOLDER=$(CURDIR)/build/family EDGEPOSE_INTERPRETER=tflite-runtime $(TFLITE)/python -m pytest tests/convert/test_family.py -m slow -k interpreter
endif

# The real Picamera2 on libcamera's virtual camera, and V4L2 in a virtual machine: needs root, mmdebstrap, cpio, qemu-system-x86.
test-pi: .venv/dev.stamp
	@mkdir -p build/pi
	$(VENV)/edgepose convert mobilenet_v2_small -o build/pi/small.tflite --calibration "$(EDGEPOSE_TEST_DATA)/calibration/images"
	tests/boards/picamera.sh build/pi build/pi/small.tflite
	tests/boards/v4l2.sh build/pi

# `edgepose deploy` against emulated boards that boot systemd: needs root, systemd-container, mmdebstrap, ssh.
# BOARDS=32_bit tests the board with a 32-bit system instead, which is emulated slowly.
BOARDS ?= 'not 32_bit'
test-boards: .venv/dev.stamp wheels
	@mkdir -p build/pi
	tests/boards/wheels.sh build/pi/lab
	$(VENV)/python -m pytest tests/boards/test_boards.py -m boards -k $(BOARDS) -p no:xdist -x --durations=0 --durations-min=5

# What a stranger does, on clean Debian systems without git: needs root and mmdebstrap.
SUITES ?= bookworm trixie
test-clean:
	tests/clean/try_clean.sh $(SUITES)

# Wheels for x86_64, aarch64, armv7l and armv6l, checked for the stable ABI.
wheels: dist/stamp

# An environment of its own: about 90 MB to download instead of the 1 GB of the tests.
.venv-wheels/stamp: pyproject.toml
	$(check-tools)
	@echo "installing the cross-compiler into .venv-wheels"
	@test -x .venv-wheels/bin/python || $(PYTHON) -m venv .venv-wheels
	@$(call logged,.venv-wheels/bin/python -m pip install --disable-pip-version-check --upgrade pip)
	@$(call logged,.venv-wheels/bin/python -m pip install --disable-pip-version-check --group wheels)
	@touch $@

dist/stamp: .venv-wheels/stamp $(SOURCES) device/deploy/cross_build.py $(wildcard runtime/*.py runtime/*/*.py device/*.py device/*/* device/deploy/board/*)
	@rm -rf dist
	@$(call logged,.venv-wheels/bin/python device/deploy/cross_build.py)
	@.venv-wheels/bin/abi3audit --strict --summary dist/*.whl
	@ls -1 dist
	@touch $@

# The documentation site, into build/docs; a warning is an error.
docs: .venv-docs/stamp
	@.venv-docs/bin/python -m sphinx --quiet --fail-on-warning --keep-going --nitpicky -d build/docs-cache docs build/docs
	@echo "build/docs/index.html"

# An environment of its own, with the package itself: the reference is made from its docstrings.
.venv-docs/stamp: pyproject.toml $(SOURCES)
	$(check-tools)
	@echo "installing Sphinx into .venv-docs"
	@test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	@$(call logged,.venv-docs/bin/python -m pip install --disable-pip-version-check --upgrade pip)
	@$(call logged,.venv-docs/bin/python -m pip install --disable-pip-version-check --editable . --group docs)
	@touch $@

# Ten minutes of everything that goes wrong in months; needs mosquitto.
soak: .venv/dev.stamp
	$(VENV)/python tests/soak.py

# Damaged files for everything that reads what comes from outside; FUZZ_MINUTES for each of the targets.
FUZZ_MINUTES ?= 1
fuzz: .venv/dev.stamp
	$(VENV)/python -m tests.fuzz.fuzz --minutes $(FUZZ_MINUTES) $(FUZZ_TARGETS)

# A model of the package, from the data to the file (docs/reference/models.md): MODEL is tiny, small or medium. TRAIN_IMAGES, TRAIN_LABELS,
# TRAIN_IDS as the page says, EDGEPOSE_MODELS, EDGEPOSE_TEST_DATA, EMPTY_IMAGES (images without people). Goes on where it was interrupted.
# STUDENT: start with another network or with the trained.npz of another kit.
MODEL ?= tiny
KIT ?= build/train-$(MODEL)
TRAIN = $(VENV)/python -m edgepose.convert.distill
STUDENT_tiny = mobilenet_v2_small
STUDENT_small = mobilenet_v2_small
STUDENT_medium = human-pose-estimation-0001
STUDENT ?= $(STUDENT_$(MODEL))
STAGES_tiny = 2
STAGES_small = 3
STAGES_medium = 2
INPUT_SIZE_tiny = 432x368
INPUT_SIZE_small = 544x448
INPUT_SIZE_medium = 424x304
TRAIN_FLAGS_tiny = --views 60000 --rate 4e-4 --zoom 0.65 1.35
TRAIN_FLAGS_small = --views 60000 --rate 3e-4 --zoom 0.6 1.5
TRAIN_FLAGS_medium = --views 28000 --rate 2.4e-4 --zoom 0.6 1.35
# Input channels to keep of convolutions of the student.
KEEP_medium = conv5_1/sep=384 conv5_2/sep=320 conv5_3/sep=384 conv5_4/sep=384 conv5_5/sep=384 conv4_3_CPM/al/WithoutBiases=352 \
	conv5_2_CPM_L1/WithoutBiases=96 conv5_3_CPM_L1/WithoutBiases=96 conv5_5_CPM_L1/WithoutBiases=64 conv5_5_CPM_L2/WithoutBiases=64 \
	Mconv1_stage2_L1/3x3/2/WithoutBiases=80 Mconv2_stage2_L1/3x3/2/WithoutBiases=96 Mconv3_stage2_L1/3x3/2/WithoutBiases=96 \
	Mconv4_stage2_L1/3x3/2/WithoutBiases=80 Mconv5_stage2_L1/3x3/2/WithoutBiases=80
train-default: .venv/dev.stamp
	$(if $(INPUT_SIZE_$(MODEL)),,$(error MODEL=$(MODEL): expected tiny, small or medium))
	@$(call pip,$(VENV),--editable '.[train]')
	@test -e $(KIT)/prepared || { $(TRAIN) prepare $(KIT) --images "$(TRAIN_IMAGES)" --labels "$(TRAIN_LABELS)" --ids "$(TRAIN_IDS)" \
		--calibration "$(EDGEPOSE_TEST_DATA)/calibration/images" --student "$(STUDENT)" --stages $(STAGES_$(MODEL)) --image-size 640 \
		$(if $(KEEP_$(MODEL)),&& $(TRAIN) prune $(KIT) $(addprefix --keep ,$(KEEP_$(MODEL)))) && touch $(KIT)/prepared; }
	$(TRAIN) cache $(KIT)
	$(TRAIN) train $(KIT) --augmentation mild --decay linear --early-weight 0.5 $(TRAIN_FLAGS_$(MODEL)) $(TRAIN_FLAGS)
	$(TRAIN) export $(KIT)
	-$(VENV)/edgepose convert $(KIT)/student.keras -o $(KIT)/edgepose-$(MODEL).tflite --network edgepose-$(MODEL) \
		--input-size $(INPUT_SIZE_$(MODEL)) --precision int8 --channel-order rgb \
		--calibration "$(EDGEPOSE_TEST_DATA)/calibration/images" --license Apache-2.0 \
		--verify "$(EDGEPOSE_TEST_DATA)/coco-dev/images" --annotations "$(EDGEPOSE_TEST_DATA)/coco-dev/person_keypoints.json" \
		--empty "$(EMPTY_IMAGES)"

check: .venv/dev.stamp
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	@mkdir -p build/typing/edgepose
	@for part in convert runtime device benchmarks; do ln -sfn ../../../$$part build/typing/edgepose/$$part; done
	@for file in __init__ events; do ln -sfn ../../../runtime/root/$$file.py build/typing/edgepose/$$file.py; done
	$(VENV)/mypy -p edgepose
	$(VENV)/pyright
	$(VENV)/codespell runtime convert device benchmarks examples tests docs *.md Makefile pyproject.toml setup.py .github
	$(VENV)/bandit --quiet --configfile pyproject.toml --recursive convert runtime device benchmarks setup.py
	$(VENV)/python tests/audit.py

bench: .venv/dev.stamp
	$(VENV)/python -m edgepose.benchmarks
	$(VENV)/python -m pytest -p no:xdist -o addopts= -o python_files=speed.py --benchmark-autosave --benchmark-columns=median,iqr,rounds \
		--benchmark-storage=.benchmarks --benchmark-sort=name -q benchmarks/speed.py

# All runs of `make bench` on this machine, one beside the other.
bench-compare: .venv/dev.stamp
	$(VENV)/python -m pytest_benchmark --storage=.benchmarks compare --group-by=name --columns=median,iqr,rounds --sort=name

# Instructions a frame of decoder and preprocessing, against the stored ones; needs valgrind.
instructions: .venv/dev.stamp
	$(VENV)/python -m edgepose.benchmarks.micro.instructions

.venv/demo.stamp: $(SOURCES)
	$(check-tools)
	@echo "installing into .venv"
	@test -x $(VENV)/python || $(PYTHON) -m venv .venv
	@$(call pip,$(VENV),--upgrade pip)
	@$(call pip,$(VENV),--editable $(FOR_DEMO))
	@touch $@

.venv/dev.stamp: .venv/demo.stamp
	@echo "installing what tests and measurements need into .venv; TensorFlow is large, the first time takes a few minutes"
	@$(call pip,$(VENV),--editable $(FOR_TESTS))
	@touch $@

.venv-tflite/dev.stamp: $(SOURCES)
	@echo "installing tflite-runtime and its NumPy 1 into .venv-tflite"
	@test -x $(TFLITE)/python || $(PYTHON311) -m venv .venv-tflite
	@$(call pip,$(TFLITE),--upgrade pip)
	@$(call pip,$(TFLITE),--editable $(FOR_TFLITE))
	@touch $@

build/checked/stamp: .venv/dev.stamp $(SOURCES) $(wildcard runtime/*.py runtime/*/*.py convert/*.py)
	@rm -rf build/checked && mkdir -p build
	@echo "building the kernel with every array access checked"
	@$(call logged,EDGEPOSE_BOUNDSCHECK=1 $(VENV)/python setup.py --quiet build --build-base build/checked-temp --build-lib build/checked)
	@touch $@

# The pages and JSON Schemas in docs/reference that are made from the code; a test compares them.
reference: .venv/dev.stamp
	PYTHONPATH=docs $(VENV)/python -m reference_pages

clean:
	rm -rf .venv .venv-tflite .venv-wheels .venv-docs build dist *.egg-info runtime/*.so
