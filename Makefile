# The book, its tests and its lint. Every target makes the environment it needs in .venv: the book what $(BOOK) stands
# for, all others what $(STAMP) does.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
BOOK   := $(VENV)/.book
STAMP  := $(VENV)/.installed
HTML   := _build/html

export PATH := $(CURDIR)/$(BIN):$(PATH)
export KMOD_CACHE ?= $(HOME)/.cache/kmod
# Some machines ask Python not to keep what it compiles; here, dozens of processes would compile the same packages.
unexport PYTHONDONTWRITEBYTECODE
# Chapters run as readers get them: no hub, no progress bars, charts for the page.
run := HF_HUB_OFFLINE=1 TQDM_DISABLE=1 KMOD_CHARTS=book
# A process a core, of one thread each: what is tested is too small to be split among threads. Files in the order given,
# so that the run does not end with a long one.
split := $(run) OMP_NUM_THREADS=1 pytest -n auto --dist loadfile --no-loadscope-reorder --durations=20
chapters := --nbval-lax --nbval-current-env --nbval-cell-timeout 1800 --nbval-sanitize-with tests/nbval_sanitize.cfg book
library := not book and not lab and not alone and not colab

.PHONY: help book stored-book check-book links pdf test test-code test-library test-slow test-chapters test-book test-lab test-alone test-colab lint format notebooks browser clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

# Python compiles what it imports, when it does; compiling all of it takes longer than anything here.
define install
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	if command -v uv >/dev/null; then uv pip install --quiet --python $(BIN)/python $(1); \
	else $(BIN)/python -m pip install --quiet --no-compile $(1); fi
endef

$(BOOK): book/requirements.txt pyproject.toml
	$(call install,--requirement book/requirements.txt --editable .)
	touch $@

$(STAMP): requirements.txt book/requirements.txt tests/references.txt pyproject.toml
	$(call install,--requirement requirements.txt --editable .)
	$(call install,--no-deps --requirement tests/references.txt)
	touch $(BOOK) $@

book: $(BOOK)  ## run the chapters, two at a time, and build the book: _build/html/index.html
	$(run) python book/_ext/build_book.py
	@$(MAKE) --no-print-directory check-book

stored-book: $(BOOK)  ## build the book from the stored notebooks, without running them
	$(run) python book/_ext/build_book.py --stored
	@$(MAKE) --no-print-directory check-book

check-book: $(BOOK)
	python book/_ext/check_build.py $(HTML)

links: $(BOOK)  ## ask the network whether every link to the world outside still leads somewhere
	$(run) jupyter-book build . --path-output . --builder linkcheck

pdf: browser  ## print the built book: _build/kmod.pdf
	python book/_ext/print_book.py

test: lint test-code stored-book test-book test-lab  ## everything: lint, library, chapters, book and lab in a browser

test-code: $(STAMP)  ## the chapters and all tests of the library, in one go
	$(split) $(chapters) tests -m "$(library)"

test-library: $(STAMP)  ## the quick tests of the library
	$(split) -m "$(library) and not slow"

test-slow: $(STAMP)  ## the README's commands, suites that are killed, a cluster that loses a node
	$(split) -m slow

test-chapters: $(STAMP)  ## run the chapters, whose tagged cells must reproduce what is stored
	$(split) $(chapters)

test-book: browser  ## the built book, and the models in its first page, in a browser; skipping counts as failing
	KMOD_REQUIRE_BOOK=1 $(run) pytest -n auto --durations=20 -m book

test-lab: browser  ## the edit lab in JupyterLab, in a browser; skipping counts as failing
	KMOD_REQUIRE_BOOK=1 $(run) pytest -m lab

test-alone: $(STAMP)  ## every chapter alone in an empty folder and a fresh environment, as on Colab (not part of `test`)
	pytest -m alone

test-colab: $(STAMP)  ## the lab and two chapters in Colab's versions of everything (not part of `test`)
	pytest -m colab

lint: $(STAMP)  ## ruff over library, tests and chapters; misspellings in all that is read
	ruff check .
	ruff format --check .
	codespell README.md CONTRIBUTING.md CHANGELOG.md kmod/*/*/*.md kmod/*/*/*/*.md book/*.md book/_ext kmod/*.py kmod/*/*.py kmod/*/*/*.py tests benchmarks
	python book/_ext/spelling.py

format: $(STAMP)  ## let ruff repair what it can
	ruff check --fix .
	ruff format .

notebooks: $(BOOK)  ## run the chapters in place and store their outputs
	$(run) python book/_ext/store_outputs.py

browser: $(STAMP)
	@for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	    command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else playwright install chromium; fi

clean:  ## remove the built book and the caches; .venv stays
	rm -rf _build .pytest_cache .ruff_cache .hypothesis book/_static/vendor book/_static/edit/data.js
