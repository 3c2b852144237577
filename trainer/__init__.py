"""The trainer: from pictures of normal parts to an engine file. The only package with torch."""
