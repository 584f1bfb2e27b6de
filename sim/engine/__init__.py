"""IN TIME: one replica with continuous batching, leaping from change to change of its batch."""
