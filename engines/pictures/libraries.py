"""OpenCV and simplejpeg, which the base install leaves out; import them from here.

Import this module only in code that touches pixels: programs that only read verdicts import modules
that could decode pictures, but have neither library. simplejpeg is None if only OpenCV is
installed; `engines.pictures.jpeg` works without it.
"""

from types import ModuleType

from engines.extras import needs_extra

with needs_extra():
    import cv2

simplejpeg: ModuleType | None
try:
    import simplejpeg as _simplejpeg
except ImportError:
    simplejpeg = None
else:
    simplejpeg = _simplejpeg

__all__ = ["cv2", "simplejpeg"]
