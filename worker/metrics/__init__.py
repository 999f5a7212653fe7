"""Metrics: what Prometheus is told, and how.

What SQL knows is counted there, once for all workers, by `uplynk-export metrics`; what only
processes know each worker tells of its own.
"""
