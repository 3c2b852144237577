"""OpenCV and simplejpeg, which the base install leaves out: import this where pixels are touched.

Programs that only read verdicts import modules that can decode pictures, and decode none.
simplejpeg is None where OpenCV is installed and it is not: `engines.pictures.jpeg` does without.
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
