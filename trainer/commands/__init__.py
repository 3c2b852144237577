"""What each command of this room does, one file each."""
