"""Splitting, export to ONNX, metrics, the gate and lineage."""
