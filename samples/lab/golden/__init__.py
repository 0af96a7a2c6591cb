"""The first field report as a dump: built from the numbers it prints, and from nothing else."""
