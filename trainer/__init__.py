"""The trainer: from pictures of normal parts to an engine file. The only room with torch."""
