"""Picture files and masks: checked, decoded and read as pixels, the same way for every command."""
