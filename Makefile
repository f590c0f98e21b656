# make demo and make test are the only two commands that a fresh machine needs.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python

.PHONY: env demo film train-tiny test lint parity clean
env: $(VENV)/.installed
$(VENV)/.installed: setup.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -e '.[dev]'
	touch $@

demo: env            ## a story in the miniature's words -> out/demo.mp4 and out/demo.json
	$(PY) -m shotstream_jax.generate --config configs/tiny.py --story examples/tiny/story.json --out out/demo.mp4 --report out/demo.json

film: env            ## trains all four stages at tiny size on examples/film -> out/film (under 15 minutes)
	PY=$(PY) examples/film/train.sh

train-tiny: env      ## trains the miniature, all of it, on the drawn world -> out/tiny (a night; skips what is done)
	PY=$(PY) examples/tiny/train.sh

test: env            ## the whole test suite, two processes
	$(PY) -m pytest -n 2 --dist loadfile tests

lint: env
	$(PY) -m ruff check . && $(PY) -m ruff format --check .

parity: env          ## the reference's recorded numbers; rewrites the table in docs/results.md
	$(PY) -m pytest -n 2 --dist loadfile tests/parity --parity-table docs/results.md

clean:
	rm -rf $(VENV) out build *.egg-info
