"""What `prn::PrototypeResidual` is called in graphs, and what goes in and out."""

DOMAIN = "prn"
OPERATOR = "PrototypeResidual"
VERSION = 2  # of the operator set `prn`: all scales in one node
SCALES = 3
# TensorRT takes a local function before a plugin, unless the node says where its plugin is.
ATTRIBUTES = {"plugin_namespace": DOMAIN, "plugin_version": str(VERSION)}

INPUTS = tuple(f"{kind}_{scale}" for scale in range(SCALES) for kind in ("features", "prototypes"))
OUTPUTS = (*(f"residual_{scale}" for scale in range(SCALES)), "index", "distance")
