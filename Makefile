# make demo and make test are the only two commands that a fresh machine needs; make help lists all.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
NPM    := npm install --silent --no-audit --no-fund --prefix $(VENV)/node

.PHONY: help env browsers demo storyboard storyboard-pictures film train-tiny check test lint types page-types parity wheel clean delete-outputs

help:                ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 14

env: $(VENV)/.installed  ## the environment in .venv, with an editable install
$(VENV)/.installed: pyproject.toml setup.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -e '.[dev]'
	touch $@

browsers: env        ## what the page's tests in real browsers need; without it they are skipped
	PY=$(PY) .ci/browsers

demo: env            ## a story in the miniature's words → out/demo.mp4 and out/demo.json
	$(VENV)/bin/shotstream generate --story examples/tiny/story.json --out out/demo.mp4 --report out/demo.json --overwrite

storyboard: env      ## the page to write stories on, with the miniature, at http://127.0.0.1:8765/
	$(VENV)/bin/shotstream serve

storyboard-pictures: browsers  ## a story is written on that page, and recorded → docs/storyboard*
	$(PY) examples/storyboard_record.py docs

film: env            ## trains all four stages at tiny size on examples/film → out/film (under 15 minutes)
	PY=$(PY) examples/film/train.sh

train-tiny: env      ## trains the miniature, all of it, on the drawn world → out/tiny (a night; skips what is done)
	PY=$(PY) examples/tiny/train.sh

check: lint types    ## linter, types and the quick tests: under two minutes, before every commit
	$(PY) -m pytest -n 2 --dist loadfile -m quick tests

test: env            ## the whole test suite, two processes
	$(PY) -m pytest -n 2 --dist loadfile tests

lint: env            ## ruff, and its formatting
	$(PY) -m ruff check . && $(PY) -m ruff format --check .

types: env           ## mypy
	$(PY) -m mypy

page-types:          ## the types of the storyboard's page (needs Node)
	$(NPM) typescript@5
	$(VENV)/node/node_modules/.bin/tsc -p tests/serve/tsconfig.json

parity: env          ## the reference's recorded numbers; rewrites the table in docs/results.md
	$(PY) -m pytest -n 2 --dist loadfile tests/parity --parity-table docs/results.md

wheel: env           ## the wheel and the source distribution → out/dist
	rm -rf build
	$(PY) -m pip wheel --quiet --no-deps --wheel-dir out/dist .
	$(PY) -c 'from setuptools import build_meta; build_meta.build_sdist("out/dist")'
	rm -rf build

clean:               ## removes the environment and build leftovers; films and trained models stay
	rm -rf $(VENV) out/dist build *.egg-info

delete-outputs:      ## deletes out/: all films, data sets and models that the commands above have made
	rm -rf out
