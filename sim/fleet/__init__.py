"""WHO SERVES: replicas behind one queue, their lives and losses; several pools; prefill apart from decode."""
