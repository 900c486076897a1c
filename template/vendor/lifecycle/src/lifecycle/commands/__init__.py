"""The command line: click commands, which hold no logic."""
