"""Bundle + images -> Predictions."""
