"""The lab's full connection tables."""
