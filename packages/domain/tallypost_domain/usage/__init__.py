"""The ledger of billable recipients."""
