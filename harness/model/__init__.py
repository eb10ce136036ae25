"""Model cards, the files they name, and architectures."""
