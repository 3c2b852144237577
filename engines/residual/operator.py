"""What `prn::PrototypeResidual` is called in graphs."""

DOMAIN = "prn"
OPERATOR = "PrototypeResidual"
VERSION = 1  # of the operator set `prn`
# TensorRT takes a local function before a plugin, unless the node says where its plugin is.
ATTRIBUTES = {"plugin_namespace": DOMAIN, "plugin_version": "1"}
