"""What the product does, driven from outside through its own processes."""
