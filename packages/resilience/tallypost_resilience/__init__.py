"""What keeps one slow or broken peer from taking everything with it.

Each module is one idea: `deadline` (how long), `retry` (once more), `breaker` (not now),
`limiter` and `cluster_limiter` (not so often), `bulkhead` (not so many at once), `idempotency`
(only once), `egress` (not to there). `docs/resilience.md` shows each at work.
"""
