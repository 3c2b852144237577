"""OpenCV and simplejpeg, which the base install leaves out: import this where pixels are touched.

Programs that only read verdicts import modules that can decode pictures, and decode none.
"""

from engines.extras import needs_extra

with needs_extra():
    import cv2
    import simplejpeg

__all__ = ["cv2", "simplejpeg"]
