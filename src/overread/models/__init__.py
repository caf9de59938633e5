"""Tensors -> losses and outputs."""
