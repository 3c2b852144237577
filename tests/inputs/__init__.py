"""Files, folders and models made for tests: odd, hostile, or in the forms that people bring."""
