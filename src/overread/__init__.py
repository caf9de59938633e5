"""Overread gives a second reading of medical images."""

__version__ = "0.1.0"
