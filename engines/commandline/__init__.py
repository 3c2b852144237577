"""How every command of this project declares its flags, starts and ends."""
