"""How accurate revisions of a baseline are: inherited weights, distillation, estimates."""
