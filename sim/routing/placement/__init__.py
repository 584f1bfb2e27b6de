"""WHICH REPLICA a request goes to, among those with room. `placement` holds the base, `Placement`."""
