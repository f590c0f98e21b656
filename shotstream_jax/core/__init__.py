"""What everything else stands on: types, errors, random streams, the compilation cache."""
