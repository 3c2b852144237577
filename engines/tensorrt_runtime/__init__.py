"""TensorRT plans at work on a GPU; engines.plans builds them."""
