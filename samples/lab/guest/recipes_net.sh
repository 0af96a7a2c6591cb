# Crash as recipes_net.ko is told to; for a leaked device, by hand once its removal waits.
. /lab/parameters
device=lo
case $kind in
net-refcount*)
	echo 1 >/proc/sys/kernel/panic_on_warn
	;;
netdev-ref-leak*)
	/usr/sbin/ip link add leaky0 type veth peer name leaky1 || fail "ip link add"
	/usr/sbin/ip addr add 10.8.0.1/24 dev leaky0
	/usr/sbin/ip link set leaky1 up
	/usr/sbin/ip link set leaky0 up
	device=leaky0
	;;
esac
insmod /lab/recipes_net.ko case=$kind device=$device || fail "insmod recipes_net.ko case=$kind"
/usr/sbin/ip link del leaky0 &
deleting=$!
i=0
until dmesg | grep -q "waiting for leaky0 to become free"; do
	sleep 1
	i=$((i + 1))
	[ $i -lt 60 ] || fail "no message"
done
case $kind in
*-lookalike)
	rmmod recipes_net || fail "rmmod"
	wait $deleting
	/usr/sbin/ip link add leaky0 type veth peer name leaky1 || fail "ip link add"
	/usr/sbin/ip link set leaky0 up
	;;
esac
sleep 1
echo "lab: crashing"
echo c >/proc/sysrq-trigger
