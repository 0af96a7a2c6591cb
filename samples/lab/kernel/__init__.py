"""The lab's small kernel, built from Debian's kernel source package."""
