# make book   the environment, the chapters' run, the pages
# make test   everything that must hold, from one run of every chapter
# make bench  chapter 08's full table, about an hour; goes on where it was stopped
PYTHON ?= python3
BIN = .venv/bin
ENV = .venv/requirements.stamp
BUILD = $(BIN)/jupyter-book build . --all -W -n --keep-going

book: $(ENV)
	@$(BIN)/python -m tools.cache fresh
	$(BUILD)
	@$(BIN)/python -m tools.cache report

test: $(ENV)
	$(BIN)/ruff check .
	$(BIN)/pytest tests --ignore tests/test_site.py
	$(BIN)/pytest notebooks --nbmake --nbmake-timeout 900
	$(BIN)/python -m tools.cache unchanged $(BUILD) --quiet
	$(BIN)/pytest tests/test_site.py

bench: $(ENV)
	$(BIN)/python -m tools.bench

$(ENV): requirements.txt constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "No Python at '$(PYTHON)': install Python 3.11 to 3.13, or name yours: make book PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v[:2] <= (3, 13) and "The book needs Python 3.11 to 3.13, and $(PYTHON) is %d.%d; name another: make book PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

clean:
	rm -rf _build

.PHONY: book test bench clean
