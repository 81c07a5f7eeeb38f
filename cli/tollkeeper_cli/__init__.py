"""The command line: a file a command group; what a command does is first a method below it."""
