"""Model + batches -> fitted model."""
