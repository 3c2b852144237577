"""From a trained network to an engine file: its thresholds and its ONNX graph."""
