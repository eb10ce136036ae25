"""Programs that an export copies beside the model; they run in the server, where there is no harness."""
