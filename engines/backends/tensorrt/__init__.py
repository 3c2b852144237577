"""TensorRT plans: their files, the plugin of the residual, and the engine that runs them."""
