"""What the folders of a decision and of a run hold, read through typed doors; a damaged file is refused in one line."""
