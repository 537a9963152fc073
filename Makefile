# Two commands are all a newcomer needs: `make demo` and `make test`. Each sets up .venv first; the second time that is quick.

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.saywhy-installed
PYTHON := $(shell for p in python3.12 python3.13 python3.11 python3; do \
            $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# The oldest Python that saywhy takes, with every library at the lowest version that pyproject.toml takes.
LOWEST        := .venv-lowest
LOWEST_STAMP  := $(LOWEST)/.saywhy-installed
LOWEST_PYTHON := $(shell for p in python3.11 python3.12; do $$p -c '' 2>/dev/null && echo $$p && break; done)

.PHONY: help setup demo test test-slow test-lowest fuzz gpu-check lint layout clean

help:
	@echo "make demo         explain photographs and rendered birds that are installed; writes why-demo/index.html"
	@echo "make test         the fast tests"
	@echo "make test-slow    the slow tests: every architecture of docs/models.md, conservation on whole networks"
	@echo "make test-lowest  the fast tests that matter with the lowest declared version of every library"
	@echo "make fuzz         COUNT=1000 broken pictures and as many texts, drawn from SEED=0: read, or refused in a line"
	@echo "make gpu-check    what a GPU makes of it, in OUT=gpu-check: five minutes at most; skipped where there is none"
	@echo "make lint         ruff, mypy, and no large binary in the repository"
	@echo "make layout       the rooms of the package, their floors, and every arrow between them"

setup: $(STAMP)

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "saywhy needs Python 3.11 or newer (python3.11, python3.12 ... on PATH)"; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON); the first time this downloads PyTorch and takes some minutes"
	@if command -v uv >/dev/null; then \
	  test -x $(BIN)/python || uv venv -q --python $(PYTHON) $(VENV); \
	  uv pip install -q --python $(BIN)/python -e '.[dev]'; \
	else \
	  test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	  $(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'; \
	fi
	@$(BIN)/python -c "import torchvision.ops as o; o.nms" 2>/dev/null || \
	  { echo "torch and torchvision in $(VENV) are not a matching pair: remove $(VENV) and try again"; exit 1; }
	@touch $(STAMP)

demo: $(STAMP)
	@echo "explaining installed photographs and rendered birds"
	@$(BIN)/saywhy demo --out why-demo
	@echo "open why-demo/index.html"

test: $(STAMP)
	@echo "running the fast tests"
	@$(BIN)/python -m pytest -m "not slow"

test-slow: $(STAMP)
	@echo "running the slow tests"
	@$(BIN)/python -m pytest -m slow

fuzz: $(STAMP)
	@$(BIN)/python -m tests.fuzz pictures $(or $(COUNT),1000) $(or $(SEED),0)
	@$(BIN)/python -m tests.fuzz texts $(or $(COUNT),1000) $(or $(SEED),0)

$(LOWEST_STAMP): pyproject.toml
	@test -n "$(LOWEST_PYTHON)" || { echo "the lowest versions need python3.11 or python3.12 on PATH"; exit 1; }
	@echo "setting up $(LOWEST) with $(LOWEST_PYTHON); this downloads PyTorch's first supported release (3 GB)"
	@rm -rf $(LOWEST) && $(LOWEST_PYTHON) -m venv $(LOWEST)
	@command -v uv >/dev/null || $(LOWEST)/bin/python -m pip install -q --disable-pip-version-check uv
	@PATH="$$PATH:$(LOWEST)/bin" uv pip install -q --no-cache --python $(LOWEST)/bin/python --resolution lowest-direct \
	  -e '.[demo,audit,peers,metrics,train]' 'pytest>=8'
	@touch $(LOWEST_STAMP)

test-lowest: $(LOWEST_STAMP)
	@echo "explaining, and running fast tests, with the lowest declared versions"
	@$(LOWEST)/bin/saywhy explain src/saywhy/worlds/samples/aviary/*.jpg --model world:aviary \
	  --out $(LOWEST)/why > $(LOWEST)/explained.txt && ls $(LOWEST)/why/index.html
	@$(LOWEST)/bin/python -m pytest -m "not slow" tests/questions tests/cli tests/classifiers

gpu-check: $(STAMP)
	@$(BIN)/python -m tests.gpu_check $(or $(OUT),gpu-check)

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m tests.binaries

layout: $(STAMP)
	@$(BIN)/python -m tests.layout

clean:
	rm -rf $(VENV) $(LOWEST) why-demo gpu-check
