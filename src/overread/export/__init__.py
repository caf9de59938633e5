"""Predictions -> files: tables, pictures, pages."""
