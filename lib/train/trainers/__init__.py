"""The epoch loop: steps, schedules, records and checkpoints."""
