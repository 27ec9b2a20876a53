# The commands of the project; `make` alone lists them. Pass further arguments in ARGS: make serve ARGS="--port 9000".

PYTHON ?= python3
ARGS ?=
# Half of their time, many tests wait: three keep two cores busy.
WORKERS ?= 3
CERT_DIR ?= dev-cert
BIN := .venv/bin
NAME_ANOTHER := name a newer Python: make install PYTHON=python3.11

# Tests start hundreds of processes, and one takes half as long where the last has left compiled files.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install serve dev-cert test check check-types check-style check-imports check-pages fuzz bench guide guide-eval format lock screenshots docs wheel npm-package clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## Make .venv from the lock; quick when nothing changed
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON); $(NAME_ANOTHER)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("make: twowire needs Python 3.11 \
	or newer, and $(PYTHON) is %d.%d; $(NAME_ANOTHER)" % sys.version_info[:2])'
	@$(PYTHON) requirements/install.py

serve: install ## Install, then serve the guide on http://127.0.0.1:8000
	@exec $(BIN)/twowire serve $(ARGS)

dev-cert: ## Make a certificate for localhost in dev-cert/, for --certfile and --keyfile; nobody else trusts it
	@mkdir -p $(CERT_DIR)
	@umask 077; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 90 \
		-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1 \
		-addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth \
		-keyout $(CERT_DIR)/key.pem -out $(CERT_DIR)/cert.pem 2>/dev/null
	@echo "made $(CERT_DIR)/cert.pem and $(CERT_DIR)/key.pem"

test: install ## Install, then run the tests, three at a time; WORKERS=0 for one after another
	$(BIN)/python -m pytest --numprocesses $(WORKERS) $(ARGS)

# Two at a time: the types take as long as all others.
check: install ## Install, then check format, lint, types and import arrows, the pages' too
	@$(MAKE) --no-print-directory --keep-going --jobs=2 check-types check-style check-imports check-pages

check-types:
	$(BIN)/mypy

check-style:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

check-imports:
	$(BIN)/lint-imports

check-pages:
	@$(BIN)/python requirements/pages.py check

fuzz: install ## Send hostile bytes to a server for ten minutes; ARGS="--seconds 60 --seed 7" for a short, repeatable run
	$(BIN)/python -m tests.fuzz $(ARGS)

bench: install ## Measure this server beside vLLM's own, in about 15 minutes; writes the tables of docs/explanation/performance.md
	$(BIN)/python -m bench.run $(ARGS)

guide: install ## Make the guide from scratch, a chat model that knows this server; takes about two hours
	$(BIN)/python -m training.train engine/guide $(ARGS)

guide-eval: install ## Put the held-out questions to the guide that was made, and print its scores
	$(BIN)/python -m training.evaluate $(ARGS)

format: install ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# Resolved for the oldest Python; the newer ones need no other versions, and get none.
COMPILE = $(BIN)/uv pip compile pyproject.toml \
	--config-file requirements/uv.toml --override requirements/overrides.txt \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	--custom-compile-command "make lock" --quiet $(if $(UPGRADE),--upgrade)
SERVE_EXTRAS = --extra cpu --extra embeddings --extra otel --extra redis --extra audio --extra openvino

lock: install ## Remake the locks in requirements/ from pyproject.toml (UPGRADE=1: with newer versions)
	$(COMPILE) $(SERVE_EXTRAS) --group dev --output-file requirements/cpu.txt
	$(COMPILE) $(SERVE_EXTRAS) --group build --constraint requirements/cpu.txt --output-file requirements/cpu-serve.txt
	$(COMPILE) --extra ray --constraint requirements/cpu.txt --output-file requirements/ray.txt

screenshots: install ## Make the pictures of the chat in docs/ anew
	$(BIN)/python -m tests.live.browser.screenshots
	$(BIN)/python -m tests.live.browser.motion

docs: install ## Build the site of docs/ into site/; SOURCE_URL=https://… is where files outside docs/ can be read
	NO_MKDOCS_2_WARNING=1 SOURCE_URL=$(SOURCE_URL) $(BIN)/mkdocs build

wheel: install ## Build the wheels of the server and its Python client into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . ./clients/python

npm-package: install ## Build the JavaScript client's package into dist/
	@$(BIN)/python requirements/pages.py tools
	node clients/javascript/build.mjs
	@mkdir -p dist
	npm pack --silent --pack-destination dist ./build/javascript/package

clean: ## Remove what the other commands made, .venv included
	rm -rf .venv .node static/vendor build dist site dev-cert .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis fuzz-failures
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
