"""Picture files and masks: checked and decoded to pixels, the same way for every command."""
