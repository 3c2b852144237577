"""The `engine-...` commands: settings, help and body of each in one module."""
