"""The command line, one file a command. An edge: nothing imports it."""
