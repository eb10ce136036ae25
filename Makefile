.PHONY: check lint types test format docs

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
