# make demo: train on the bundled book and generate text at three temperatures.
# make test: lint, check types and run the tests. Both create .venv if it is missing.

PYTHON ?= python3
BIN := .venv/bin
DEMO := checkpoints/demo

.PHONY: demo test clean

demo: .venv/ready
	$(BIN)/textgen train corpora/the_lamp_at_harrow.txt --out $(DEMO) --force
	@for t in 0.5 0.8 1.1; do \
		echo; echo "=== temperature $$t ==="; \
		$(BIN)/textgen sample $(DEMO) --temperature $$t --length 600 --seed 1; \
	done

test: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2 --dist worksteal

.venv/ready: setup.cfg setup.py pyproject.toml $(wildcard textgen/kernels/*.[ch])
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv build *.egg-info textgen/kernels/*.so .mypy_cache .pytest_cache .ruff_cache .hypothesis
