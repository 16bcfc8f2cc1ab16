"""Benchmarks of the engine against a plain loop and other trainers; no part of the service."""
