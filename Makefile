# make book             the environment, the chapters' run, the pages
# make page CHAPTER=02  that chapter's run, if it needs one, and its page alone
# make test             everything that must hold, from one run of every chapter
# make pdf              the whole book as one PDF, from the pages of make book
# make drawn            the six networks for the pages without code: book/drawn
# make verdicts         record the words of the last run, after a look at what changed
# make address          carry the address of _config.yml to where it is copied
# make bench            the recorded trials of all chapters, twenty hours and more; goes on
#                       where it stopped. make bench CHAPTER=04: that chapter's alone
# make real             those of chapter 09, on the real sets that are in place, twelve
#                       hours and more. make real SET=dsb2018: on that set alone

# The record was made without AVX-512, which rounds otherwise: none of these uses it, so
# that what is trained here is what was recorded there, with few exceptions to the digit.
export ONEDNN_MAX_CPU_ISA = AVX2
export NPY_DISABLE_CPU_FEATURES = X86_V4,AVX512_ICL,AVX512_SPR

PYTHON ?= python3
BIN = .venv/bin
ENV = .venv/requirements.stamp
BUILD = $(BIN)/jupyter-book build . --all -W -n --keep-going

book: $(ENV)
	$(BIN)/python -m book._ext.store run
	$(BUILD)

page: $(ENV)
	$(BIN)/python -m book._ext.preview $(CHAPTER)

pdf: $(ENV)
	$(BIN)/python -m book._ext.pdf

test: $(ENV)
	$(BIN)/ruff check .
	$(BIN)/pytest tests --ignore tests/book/test_site.py -p no:nbmake -n 2 --dist loadfile --no-loadscope-reorder --durations 10
	$(BIN)/pytest notebooks --nbmake --nbmake-timeout 2400 -n 2 -v
	$(BIN)/python -m book._ext.store unchanged $(BUILD) --quiet
	$(BIN)/pytest tests/book/test_site.py -n 2

drawn: $(ENV)
	$(BIN)/python -m book._ext.drawn

verdicts: $(ENV)
	$(BIN)/python -m tests.verdicts

address: $(ENV)
	$(BIN)/python -m book._ext.address

bench: $(ENV)
	$(BIN)/python -m helpers.app.bench $(CHAPTER)

real: $(ENV)
	$(BIN)/python -m helpers.app.bench 09 $(addprefix --set=,$(SET))

$(ENV): requirements.txt constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "No Python at '$(PYTHON)': install Python 3.11 to 3.13, or name yours: make book PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v[:2] <= (3, 13) and "The book needs Python 3.11 to 3.13, and $(PYTHON) is %d.%d; name another: make book PYTHON=python3.12" % v[:2])'
	@echo 'Making the environment in .venv: some minutes, once'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

clean:
	rm -rf _build

.PHONY: book page pdf drawn test verdicts address bench real clean
