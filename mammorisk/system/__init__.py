"""Files, terminal output and processes of the operating system."""
