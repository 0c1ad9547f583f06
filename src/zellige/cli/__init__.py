"""The command line: `app` wires one file a command."""
