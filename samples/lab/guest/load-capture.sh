# Load the kernel that writes the dump when this one has crashed.
kexec -s -p /lab/vmlinuz --initrd=/lab/capture.cpio \
	--command-line="console=ttyS0 nr_cpus=1 irqpoll reset_devices panic=1" || fail "kexec -p"
[ "$(cat /sys/kernel/kexec_crash_loaded)" = 1 ] || fail "no crash kernel is loaded"
