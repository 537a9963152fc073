# Two commands are all a newcomer needs: `make demo` and `make test`. Each sets up .venv first; the second time that is quick.

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.saywhy-installed
DEMO   := $(VENV)/.saywhy-demo
PYTHON := $(shell for p in python3.12 python3.13 python3.11 python3; do \
            $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP    := $(if $(shell command -v uv),uv pip install -q --python $(BIN)/python,$(BIN)/python -m pip install -q --disable-pip-version-check)

# Where there is no NVIDIA GPU, PyTorch's own index has a build that is 4 GB smaller; TORCH_INDEX= takes PyPI's.
TORCH_INDEX := $(if $(filter Linux,$(shell uname -s)),$(if $(shell command -v nvidia-smi),,https://download.pytorch.org/whl/cpu))

# The oldest Python that saywhy takes, with every library at the lowest version that pyproject.toml takes.
LOWEST        := .venv-lowest
LOWEST_STAMP  := $(LOWEST)/.saywhy-installed
LOWEST_PYTHON := $(shell for p in python3.11 python3.12; do $$p -c '' 2>/dev/null && echo $$p && break; done)

.PHONY: help setup demo test test-slow test-lowest fuzz gpu-check lint layout docs package sbom vulnerabilities clean

help:
	@echo "make demo         explain photographs and rendered birds that are installed; writes why-demo/index.html"
	@echo "make test         the fast tests"
	@echo "make test-slow    the slow tests: every architecture of docs/models.md, conservation on whole networks"
	@echo "make test-lowest  the fast tests that matter with the lowest declared version of every library"
	@echo "make fuzz         COUNT=1000 broken pictures and as many texts, drawn from SEED=0: read, or refused in a line"
	@echo "make gpu-check    what a GPU makes of it, in OUT=gpu-check: five minutes at most; skipped where there is none"
	@echo "make lint         ruff, mypy, and no large binary in the repository"
	@echo "make layout       the rooms of the package, their floors, and every arrow between them"
	@echo "make docs         the documentation, in build/site; fails on a link that leads nowhere"
	@echo "make package      wheel and sdist in dist: what is in them, and an explanation by the installed wheel"
	@echo "make sbom         what is installed with saywhy, as CycloneDX, in dist/saywhy.cdx.json"
	@echo "make vulnerabilities  pip-audit of what is installed with saywhy; says so where its database is not reachable"

setup: $(STAMP)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "saywhy needs Python 3.11 or newer (python3.11, python3.12 ... on PATH)"; exit 1; }
	@if command -v uv >/dev/null; then uv venv -q --python $(PYTHON) $(VENV); else $(PYTHON) -m venv $(VENV); fi

PAIR := $(BIN)/python -c "import torchvision.ops as o; o.nms" 2>/dev/null

define install
	@echo "setting up $(VENV); the first time this downloads PyTorch and takes some minutes"
	@$(PAIR) || test -z "$(TORCH_INDEX)" || \
	  { PIP_RETRIES=0 PIP_DEFAULT_TIMEOUT=15 UV_HTTP_TIMEOUT=15 $(PIP) --index-url $(TORCH_INDEX) torch torchvision \
	    >/dev/null 2>&1 && $(PAIR); } || \
	  { echo "no small build of PyTorch is to be had here: taking PyPI's, with CUDA, 4 GB more"; \
	    $(PIP) --force-reinstall torch torchvision; }
	@$(PIP) -e '.[$(1)]'
	@$(PAIR) || { echo "torch and torchvision in $(VENV) are not a matching pair: remove $(VENV) and try again"; exit 1; }
endef

$(DEMO): pyproject.toml | $(BIN)/python
	$(call install,demo)
	@touch $(DEMO)

$(STAMP): pyproject.toml | $(BIN)/python
	$(call install,dev)
	@touch $(DEMO) $(STAMP)

demo: $(DEMO)
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

docs: $(STAMP)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html"

package: $(STAMP)
	@rm -rf dist && $(BIN)/python -m build --outdir dist . >dist.log 2>&1 || { tail -20 dist.log; exit 1; }
	@rm -f dist.log
	@$(BIN)/python -m tests.package dist

sbom: $(STAMP)
	@mkdir -p dist
	@$(BIN)/python -m tests.package --installed > dist/installed.txt
	@$(BIN)/cyclonedx-py requirements dist/installed.txt --pyproject pyproject.toml --output-reproducible \
	  --of JSON -o dist/saywhy.cdx.json
	@echo "dist/saywhy.cdx.json: $$(grep -c == dist/installed.txt) components"

vulnerabilities: $(STAMP)
	@mkdir -p dist
	@$(BIN)/python -m tests.package --installed > dist/installed.txt
	@$(BIN)/python -m tests.package --audit dist/installed.txt

clean:
	rm -rf $(VENV) $(LOWEST) why-demo gpu-check dist
