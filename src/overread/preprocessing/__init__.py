"""Image -> Image: the steps that clean, crop and normalise."""

from overread.preprocessing.step import Step, steps

__all__ = ["Step", "steps"]
