# What a developer types. `make` alone lists it.
PYTHON := .venv/bin/python

.PHONY: help install lock newest newer-host test fast lint format golden docs site rpm bench demo measure clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

install:  ## install what is missing: packages and virtual environments
	sh scripts/install --floor

lock:  ## renew the locks in requirements/ and the package in the RPM; then read `git diff`
	sh scripts/lock

newest:  ## the unit tests with the newest release of everything, whatever the locks say
	sh scripts/newest

newer-host:  ## the tests on real libvirt on a Debian 13, in .cache/newer-host
	scripts/newer-host

test:  ## everything, as continuous integration runs it
	./test

fast:  ## style, types and logic only
	./test fast

lint: install  ## style and types
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

format: install  ## lay the code out
	.venv/bin/ruff format . && .venv/bin/ruff check --fix .

golden: install  ## write golden files anew; then read `git diff`
	$(PYTHON) -m pytest -q tests/unit --regenerate

docs: install  ## write the pages that are made from schemas and code
	$(PYTHON) scripts/make_manifest_docs.py
	$(PYTHON) scripts/make_effects_docs.py
	$(PYTHON) scripts/make_journal_docs.py
	$(PYTHON) scripts/make_monitoring_docs.py
	$(PYTHON) scripts/make_completion.py
	$(PYTHON) scripts/make_man.py
	$(PYTHON) scripts/make_commands_docs.py

site:  ## the pages of docs/ as a site, in site/
	sh scripts/install --site
	.cache/site/bin/python -B -m mkdocs build --strict

rpm: install  ## build the RPM of what is committed, in dist/
	packaging/rpm/build

bench: install  ## measure beside the floor and beside other tools
	$(PYTHON) -m bench

measure: install  ## count files, lines, imports, frames and names of the code
	$(PYTHON) scripts/measure.py

demo:  ## the main job on real QEMU, from an empty host to an empty plan
	./demo

clean:  ## remove what was installed and built for the project
	rm -rf .venv .venv39 .cache build dist site *.egg-info
