"""Conversion of ONNX into engine files: TensorRT plans, 8-bit engines, models of other projects."""
