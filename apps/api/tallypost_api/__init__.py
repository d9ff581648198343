"""The public API: what tenants' programs call, on the routes of Resend's API for emails."""
