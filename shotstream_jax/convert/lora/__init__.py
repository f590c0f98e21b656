"""Low-rank adapters in public files: read under any naming, checked, and merged into weights."""
