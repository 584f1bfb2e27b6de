"""HOW LONG: the numbers of input and output tokens of single calls. Every file but `base` is one kind."""
