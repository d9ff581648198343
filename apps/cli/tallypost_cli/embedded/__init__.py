"""PostgreSQL and Redis from wheels, for development and tests where no server is configured."""
