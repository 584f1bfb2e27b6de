"""WHERE IT GOES: the gateway takes in every request; a router names fleet or API, a placement the replica."""
