.PHONY: check lint types test format docs bench

check: lint types test

lint:
	ruff check .
	ruff format --check .

types:
	mypy

test:
	pytest

format:
	ruff check --fix .
	ruff format .

docs:
	mkdocs build --strict

bench:
	python benchmarks/record.py
