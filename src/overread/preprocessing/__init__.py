"""Image -> Image: the steps that clean, crop and normalise."""

from overread.preprocessing.step import Step, fit_steps, learns, prepare, settings_of, steps

__all__ = ["Step", "fit_steps", "learns", "prepare", "settings_of", "steps"]
