"""The parts of a page, one per file: from what is saved to sentences, figures and tables."""
