"""The registry: the engines that may serve, and which one is in force."""
