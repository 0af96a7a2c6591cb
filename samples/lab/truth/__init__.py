"""Crashes whose functions' arguments were logged on entry: ground truth for argument recovery."""
