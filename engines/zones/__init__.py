"""Zones of a picture that are inspected, judged more strictly, or ignored."""
