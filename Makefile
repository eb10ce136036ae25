.PHONY: check lint types test format

check: lint types test

lint:
	ruff check .
	ruff format --check .

types:
	mypy

# In three processes: in one, the tests of tune crashed the interpreter behind those of the trainer and all others.
TRAINER = tests/test_train_command.py tests/test_training.py
TUNE = tests/test_tune.py tests/test_tune_candidates.py tests/test_tune_compare.py
test:
	pytest $(addprefix --ignore=,tests/search $(TRAINER) $(TUNE))
	pytest $(TUNE) $(TRAINER)
	pytest tests/search

format:
	ruff check --fix .
	ruff format .
