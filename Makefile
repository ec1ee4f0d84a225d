# Targets for developers. `make` alone lists them.
PYTHON := .venv/bin/python

.PHONY: help install lock newest newer-host test fast lint format golden docs site rpm bench demo measure clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

install:  ## install what is missing: packages and virtual environments
	sh scripts/install --floor

lock:  ## update the locks in requirements/ and the package in the RPM; then read `git diff`
	sh scripts/lock

newest:  ## run the unit tests with the newest release of everything, whatever the locks say
	sh scripts/newest

newer-host:  ## run the tests on real libvirt on Debian 13, in .cache/newer-host
	scripts/newer-host

test:  ## run every test, as continuous integration does
	./test

fast:  ## check style and types, run the unit tests only
	./test fast

lint: install  ## check style and types
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

format: install  ## format the code
	.venv/bin/ruff format . && .venv/bin/ruff check --fix .

golden: install  ## update the golden files; then read `git diff`
	$(PYTHON) -m pytest -q tests/unit --regenerate

docs: install  ## update the pages that are made from schemas and code
	$(PYTHON) scripts/make_manifest_docs.py
	$(PYTHON) scripts/make_effects_docs.py
	$(PYTHON) scripts/make_windows_docs.py
	$(PYTHON) scripts/make_journal_docs.py
	$(PYTHON) scripts/make_monitoring_docs.py
	$(PYTHON) scripts/make_completion.py
	$(PYTHON) scripts/make_man.py
	$(PYTHON) scripts/make_commands_docs.py
	$(PYTHON) scripts/make_plan_svg.py
	$(PYTHON) scripts/make_quotes.py
	$(PYTHON) scripts/make_troubleshooting.py

site:  ## build the pages of docs/ as a web site, in site/
	sh scripts/install --site
	.cache/site/bin/python -B -m mkdocs build --strict

rpm: install  ## build the RPM of what is committed, in dist/
	packaging/rpm/build

bench: install  ## measure, and compare with the floor and with other tools
	$(PYTHON) -m bench

measure: install  ## count files, lines, imports, frames and names of the code
	$(PYTHON) scripts/measure.py

demo:  ## show the main job on real QEMU, from an empty host to an empty plan
	./demo

clean:  ## remove what was installed and built for the project
	rm -rf .venv .venv39 .cache build dist site *.egg-info
