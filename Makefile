# `make` builds, `make test` tests, `make demo` and `make play` show; see README.md. Needs Python, a C++ compiler, bash.
# `make lint`, `make format` and `make test-fast` are for changes; see CONTRIBUTING.md.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.PHONY: build check environment test test-fast demo play bench soak docs lint format colcon release-check clean

VENV := .venv
BIN := $(VENV)/bin
# The interpreter that .venv is made with; `make PYTHON=python3.12` picks another one.
PYTHON ?= $(shell [ -x $(BIN)/python ] && echo $(BIN)/python || echo python3)
# The wheels of ROS 2 that .venv is made with: `make ROS_WHEELS=jazzy` makes it anew where it has others.
export ROS_WHEELS ?= $(shell cat $(VENV)/.ros_wheels 2>/dev/null || echo kilted)
PIP := $(BIN)/python -m pip --disable-pip-version-check install
ARGS ?=
version := import sys; print(sys.version_info[:2])
# what to install stands in setup.py and nowhere else
list = $$($(BIN)/python -B -c 'from setup import *; print(*$(1))')

# The ROS wheels tell their child processes through these that the library path is set: true for
# that venv only.
ifdef _ROS_WHEELS_BOOTSTRAP_COMPLETE
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH
endif

# Fast DDS 2 has another name for it
PROFILES := $(if $(filter jazzy,$(ROS_WHEELS)),FASTRTPS,FASTDDS)_DEFAULT_PROFILES_FILE
$(PROFILES) ?= $(CURDIR)/config/fastdds.xml
export $(PROFILES)
# Keep big buffers in the process instead of page-faulting every image again.
export MALLOC_MMAP_THRESHOLD_ ?= 1073741824
export MALLOC_TRIM_THRESHOLD_ ?= 2147483647

no_wheel := pip could not install what its lines above name: check the network or try make PYTHON=python3.12
stop = { echo "make: $(1)" >&2; exit 1; }

build: check
	@key=$$($(PYTHON) -B -c 'import setup; print(setup.environment_key())'); \
	  [ "$$(cat $(VENV)/.environment 2>/dev/null)" = "$$key" ] \
	  || $(MAKE) --no-print-directory environment KEY="$$key" PYTHON="$(PYTHON)"
	@$(MAKE) -s --no-print-directory $(VENV)/.messages PYTHON="$(PYTHON)"

check:
	@command -v $(PYTHON) >/dev/null 2>&1 \
	  || $(call stop,there is no $(PYTHON): install Python 3.10 to 3.14 or name one: make PYTHON=python3.12)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' \
	  || $(call stop,$(PYTHON) is $$($(PYTHON) --version 2>&1) and the ROS 2 wheels need 3.10 to 3.14: name one: make PYTHON=python3.12)
	@arch=$$(uname -sm); [ "$$arch" = "Linux x86_64" ] \
	  || $(call stop,PyPI has ROS 2 wheels for Linux x86_64 only and this is $$arch: install ROS 2 and use colcon build)
	@for tool in "$${CC:-cc}" "$${CXX:-c++}"; do command -v $${tool%% *} >/dev/null 2>&1 \
	  || $(call stop,there is no compiler $$tool and the messages need C and C++: apt install g++ or set CC and CXX); done

environment:
	@echo "[1/4] $(VENV) with $$($(PYTHON) --version)"
	@{ [ "$$($(BIN)/python -c '$(version)' 2>/dev/null)" = "$$($(PYTHON) -c '$(version)')" ] \
	  && [ "$$(cat $(VENV)/.ros_wheels 2>/dev/null || echo kilted)" = "$(ROS_WHEELS)" ]; } \
	  || $(PYTHON) -m venv --clear $(VENV) \
	  || $(call stop,$(PYTHON) cannot make a virtual environment: Debian: apt install python3-venv)
	@echo "[2/4] torch (where PyPI has only the CUDA build: several GB)"
	@$(PIP) $(call list,[TORCH]) || $(call stop,$(no_wheel))
	@echo "[3/4] sam2 and ROS 2 and tools"
	@$(PIP) -q $(call list,environment(*EXTRAS)) || $(call stop,$(no_wheel))
	@$(PIP) -q --no-deps $(call list,WITHOUT_DEPENDENCIES) || $(call stop,$(no_wheel))
	@echo "$(ROS_WHEELS)" > $(VENV)/.ros_wheels
	@echo "$(KEY)" > $(VENV)/.environment

$(VENV)/.messages: msg/*.msg srv/*.srv package.xml setup.py setup_messages.py $(VENV)/.environment
	@echo "[4/4] messages"
	@$(PIP) -q --no-deps --no-build-isolation --editable . \
	  || $(call stop,the messages could not be compiled: the lines above say why)
	@touch $@
	@echo "done: . $(BIN)/activate or make test or make demo"

# test files that run side by side; `make test WORKERS=0` for a debugger
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test: build
	@$(PYTEST) $(ARGS)

# tests of single modules, without those that are marked slow
test-fast: build
	@$(PYTEST) test/unit -m "not slow and not large" $(ARGS)

demo: build
	@$(BIN)/panosam2_demo $(if $(VIDEO),--video "$(VIDEO)") $(ARGS)

# a camera, the node and a page for a browser; VIDEO=walk.mp4, ARGS=--scene
play: build
	@$(BIN)/panosam2_play $(if $(VIDEO),--video "$(VIDEO)") $(ARGS)

bench: build
	@$(BIN)/python -m panosam2_ros.evaluation.bench $(ARGS)

# ten thousand frames while objects come and go: out/soak.json
soak: build
	@$(BIN)/python -m tools.soak $(ARGS)

# the site of the documentation: out/site/index.html
docs: build
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet $(ARGS)

lint: build
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: build
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# On a robot: `colcon build` in a workspace over /opt/ros. Here over the wheels, hence the three settings.
# `make colcon PANOSAM2_LAB=1` installs the laboratory as well.
colcon: build
	@prefix=$$(realpath $(VENV)); \
	  PATH="$$prefix/bin:$$PATH" AMENT_PREFIX_PATH="$$prefix" CMAKE_PREFIX_PATH="$$prefix" \
	  $(BIN)/colcon build $(ARGS) --cmake-args -GNinja -DBUILD_TESTING=OFF \
	  -DPANOSAM2_LAB=$(if $(filter-out 0,$(PANOSAM2_LAB)),ON,OFF) \
	  "-DPython3_EXECUTABLE=$$prefix/bin/python" "-DCMAKE_PROJECT_INCLUDE=$(CURDIR)/cmake/wheels.cmake"

# what is committed, built and installed as users do it
release-check: build
	@$(BIN)/python -m tools.release_check $(ARGS)

clean:
	@rm -rf build install log out dist *.egg-info panosam2_ros/msg panosam2_ros/srv panosam2_ros/*.so $(VENV)/.messages
	@echo "kept $(VENV): remove it by hand to start from nothing"
