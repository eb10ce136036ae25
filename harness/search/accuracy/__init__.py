"""How accurate revisions of a baseline are: inherited weights, trainings, estimates."""
