"""One module for each kind of camera or file that pictures come from."""
