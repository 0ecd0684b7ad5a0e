"""Benchmarks: single stream, as fast as it goes, how many streams, and model against model."""
