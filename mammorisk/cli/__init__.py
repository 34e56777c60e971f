"""Commands: one module each, named like the command."""
