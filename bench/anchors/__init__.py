"""What the machine can do without us: the denominators of our ratios."""
