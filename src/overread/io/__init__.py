"""Bytes -> Image."""
