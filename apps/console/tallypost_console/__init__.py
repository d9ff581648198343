"""The console: server-rendered pages for members of tenants and for operators."""
