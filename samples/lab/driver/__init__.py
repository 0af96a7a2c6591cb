"""Make real kernel crashes in QEMU from Debian packages and bring out the vmcore."""
