"""READERS of formats whose rows are not those of the file: each unfolds JSON documents into rows, one call each."""
