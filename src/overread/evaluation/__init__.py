"""Truth + predictions -> numbers with intervals; NumPy only."""
