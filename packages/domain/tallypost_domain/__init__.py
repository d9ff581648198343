"""The rules of Tallypost, one slice for each noun."""
