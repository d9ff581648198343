"""Routes of our own, beside those of Resend's contract; one module for each noun."""
