# Log what the functions of /lab/probes are called with, put 80-odd processes to sleep, crash.
# Events stay in the kernel's ring buffers and come out with the dump (tests/truth/events.py). The
# sleepers have a buffer of their own, which the crash's events cannot push them out of.
word= sleepers=1 preempt=
. /lab/parameters
tracing=/sys/kernel/tracing
mount -t tracefs tracefs $tracing || fail "tracefs"
mount -t tmpfs tmp /tmp
mkdir -p /dev/mqueue /dev/pts /dev/shm /disk
mount -t devpts pts /dev/pts
insmod /lab/truth.ko || fail "insmod truth.ko"
buffers=$tracing
if [ $sleepers = 1 ]; then
	mkdir $tracing/instances/sleepers
	buffers="$tracing $tracing/instances/sleepers"
else
	# For busy.c: an ext4 on a loop device, a network namespace behind netfilter's rules.
	. /lab/network.sh
	gunzip -c /lab/disk.gz >/tmp/disk && mount -o loop -t ext4 /tmp/disk /disk || fail "disk"
	mkdir -p /disk/shared
fi
for buffer in $buffers; do
	# No time, but an order: "global" stands still on a CPU whose clock is late.
	echo counter >$buffer/trace_clock
	echo 12288 >$buffer/buffer_size_kb
done
taken=0
arguments='sp=%sp a=%di b=%si c=%dx d=%cx e=%r8 f=%r9'
arguments="$arguments g=\$stack1 h=\$stack2 i=\$stack3 j=\$stack4"
while read -r name place; do
	echo "p:kp/$name $place $arguments" >>$tracing/kprobe_events && taken=$((taken + 1))
done </lab/probes 2>/dev/null
echo "lab: $taken of $(wc -l </lab/probes) probes taken"
if [ $taken -gt 0 ]; then
	for buffer in $buffers; do
		echo 1 >$buffer/events/kp/enable
	done
fi
if [ $sleepers = 1 ]; then
	taskset 3 /bin/sleepers &
	sleep 3
	echo 0 >$tracing/instances/sleepers/tracing_on
fi
if [ $word = nmi ]; then
	# Not on the command line: setting up so many probes may hang with full preemption.
	mount -t debugfs debug /sys/kernel/debug
	echo $preempt >/sys/kernel/debug/sched/preempt || fail "preempt=$preempt"
	echo 1 >/proc/sys/kernel/unknown_nmi_panic
	/bin/busy &
	sleep 2
	echo "lab: busy"
else
	echo "lab: crashing by $word"
	/bin/trigger $word
fi
sleep 40
fail "no crash"
