"""What each command of this package does, one file each."""
