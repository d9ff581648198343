"""`tallypost demo`: `up` with sample traffic, a controller to break things by, and a story."""
