"""Truth + predictions -> numbers with intervals; NumPy and COCO's mask code, no torch."""
