"""Data set layouts: one file a layout, each turns DATA into a Manifest."""
