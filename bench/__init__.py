"""Measures the engine against what this machine can do and against other mail systems.

`python -m bench --help` says how; docs/performance.md explains every line.
"""
