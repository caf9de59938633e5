"""Bytes -> Image."""

from overread.io.reader import Reader, is_image, read, readers

__all__ = ["Reader", "is_image", "read", "readers"]
