"""Registration networks: displacement fields between a prior and the current exam."""
