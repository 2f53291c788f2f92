"""What every room stands on: errors, stages and their seconds, several processes, arguments fixed at capture."""
