"""How long networks take: measured, predicted from a table of measurements, and in which kernels."""
