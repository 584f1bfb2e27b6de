"""ONE PROGRAM: the verbs of the command line, one module each; `sim.__main__` finds them here.

A verb is a module whose name does not begin with an underscore. The first line of its docstring is its line in
`llm-traffic-sim --help`; `main(argv)` takes the words after the verb and returns the exit code.
"""
