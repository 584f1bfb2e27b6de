"""ONE PROGRAM: the verbs of the command line."""
