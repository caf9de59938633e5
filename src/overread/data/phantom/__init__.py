"""Simulated abdominal CT, so that the whole line can be shown and tested where no patient's images may go."""

from overread.data.phantom.writing import Phantom, write_phantom

__all__ = ["Phantom", "write_phantom"]
