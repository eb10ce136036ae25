"""How the search chooses among the networks it has found."""
