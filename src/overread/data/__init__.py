"""Images + truth -> batches."""
