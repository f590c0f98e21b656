"""Everything that some minutes on a device can tell: `shotstream bench --all`."""
