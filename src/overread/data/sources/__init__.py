"""Data set layouts: one file a layout, each turns DATA into a Manifest."""

from overread.data.sources.source import Source, open_data, sources

__all__ = ["Source", "open_data", "sources"]
