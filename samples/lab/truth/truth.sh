# Log what the functions of /lab/probes are called with, put 50-odd processes to sleep, crash.
# Events stay in the kernel's ring buffers and come out with the dump (tests/truth/events.py). The
# sleepers have a buffer of their own, which the crash's events cannot push them out of.
word= sleepers=1
. /lab/parameters
tracing=/sys/kernel/tracing
mount -t tracefs tracefs $tracing || fail "tracefs"
mount -t tmpfs tmp /tmp
mkdir -p /dev/mqueue /dev/pts /dev/shm
mount -t devpts pts /dev/pts
insmod /lab/truth.ko || fail "insmod truth.ko"
mkdir $tracing/instances/sleepers
for buffer in $tracing $tracing/instances/sleepers; do
	echo global >$buffer/trace_clock
	echo 12288 >$buffer/buffer_size_kb
done
taken=0
arguments='sp=%sp a=%di b=%si c=%dx d=%cx e=%r8 f=%r9'
while read -r name place; do
	echo "p:kp/$name $place $arguments" >>$tracing/kprobe_events && taken=$((taken + 1))
done </lab/probes 2>/dev/null
echo "lab: $taken of $(wc -l </lab/probes) probes taken"
if [ $taken -gt 0 ]; then
	echo 1 >$tracing/instances/sleepers/events/kp/enable
	echo 1 >$tracing/events/kp/enable
fi
if [ $sleepers = 1 ]; then
	taskset 3 /bin/sleepers &
	sleep 3
	echo 0 >$tracing/instances/sleepers/tracing_on
fi
if [ $word = nmi ]; then
	echo 1 >/proc/sys/kernel/unknown_nmi_panic
	/bin/busy &
	echo "lab: busy"
else
	echo "lab: crashing by $word"
	/bin/trigger $word
fi
sleep 40
fail "no crash"
