"""Measurements that are run by hand; benchmarks/README.md lists them."""
