"""Flow matching: the schedule and its conversions, and the teacher's ODE sampler."""
