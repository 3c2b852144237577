"""The ring: frames in shared memory between a camera and the workers on its machine."""
