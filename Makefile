.PHONY: check lint types test coverage format docs tables bench

check: lint types test

lint:
	ruff check .
	ruff format --check .

types:
	mypy

test:
	pytest

coverage:
	coverage run -m pytest -n 0 tests/mlperf tests/results tests/task tests/machine tests/test_files.py \
		tests/comparison/test_document.py tests/comparison/test_table.py tests/comparison/test_page.py \
		tests/submission/test_description.py
	coverage report

format:
	ruff check --fix .
	ruff format .

docs:
	mkdocs build --strict

tables:
	python tests/tables.py

bench:
	python benchmarks/record.py
