"""From an ONNX engine file to a TensorRT plan: half precision, the plugin, the build."""
