.PHONY: check lint types test format

check: lint types test

lint:
	ruff check .
	ruff format --check .

types:
	mypy

# In two processes: what the search loads (PyTorch, Optuna, worker pools) is kept from the other tests.
test:
	pytest --ignore=tests/search
	pytest tests/search

format:
	ruff check --fix .
	ruff format .
