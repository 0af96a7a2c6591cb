"""The conntrack clash of the field report, made by a real race between CPUs."""
