"""The name of `prn::PrototypeResidual` in graphs, and its inputs and outputs."""

DOMAIN = "prn"
OPERATOR = "PrototypeResidual"
VERSION = 2  # version of the operator set `prn`: all scales in one node
SCALES = 3
# TensorRT prefers a local function to a plugin, unless the node names its plugin's namespace.
ATTRIBUTES = {"plugin_namespace": DOMAIN, "plugin_version": str(VERSION)}

INPUTS = tuple(f"{kind}_{scale}" for scale in range(SCALES) for kind in ("features", "prototypes"))
OUTPUTS = (*(f"residual_{scale}" for scale in range(SCALES)), "index", "distance")
