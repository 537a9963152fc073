# Two commands are all a newcomer needs: `make demo` and `make test`. Each sets up .venv first; the second time that is quick.

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.saywhy-installed
PYTHON := $(shell for p in python3.12 python3.13 python3.11 python3; do \
            $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: help setup demo test test-slow fuzz lint layout clean

help:
	@echo "make demo       explain photographs and rendered birds that are installed; writes why-demo/index.html"
	@echo "make test       the fast tests"
	@echo "make test-slow  the slow tests: every architecture of docs/models.md, conservation on whole networks"
	@echo "make fuzz       COUNT=1000 broken pictures and as many texts, drawn from SEED=0: read, or refused in a line"
	@echo "make lint       ruff, mypy, and no large binary in the repository"
	@echo "make layout     the rooms of the package, their floors, and every arrow between them"

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

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m tests.binaries

layout: $(STAMP)
	@$(BIN)/python -m tests.layout

clean:
	rm -rf $(VENV) why-demo
