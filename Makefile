# Thin wrapper: creates .venv, then calls sat or tox. Everything else is in pyproject.toml and tox.ini.
PYTHON ?= python3
OUT ?= runs/digits
export UV_COMPILE_BYTECODE = 1
export UV_CONSTRAINT = constraints.txt

.PHONY: demo test docs bench-report parity clean

demo: .venv/demo
	.venv/bin/sat plan examples/digits.toml --measure
	.venv/bin/sat run examples/digits.toml --out $(OUT)

test: .venv/dev
	.venv/bin/tox run-parallel --parallel auto --parallel-live --parallel-no-spinner

docs: .venv/dev
	.venv/bin/tox run -e docs

bench-report: .venv/dev
	.venv/bin/tox run -e bench-report

parity: .venv/dev
	.venv/bin/tox run -e parity

.venv/bin/uv:
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv

.venv/demo: .venv/bin/uv pyproject.toml constraints.txt
	.venv/bin/uv pip install --python .venv/bin/python --editable '.[torch,autoattack,data,report]'
	touch $@

.venv/dev: .venv/bin/uv pyproject.toml constraints.txt
	.venv/bin/uv pip install --python .venv/bin/python tox tox-uv
	touch $@

clean:
	rm -rf .venv .tox build docs/_build docs/api/generated *.egg-info
