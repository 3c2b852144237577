"""The trainer: from pictures of normal parts to an engine file. The only package with torch."""

import engines  # noqa: F401  # first: it keeps libraries from reporting home
