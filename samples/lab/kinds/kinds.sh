# Crash as $kind says, most of them by the module.
. /lab/parameters
for setting in $sysctls; do
	echo "${setting#*=}" >"/proc/sys/${setting%%=*}" || fail "$setting"
done
[ ! -s /lab/kinds.ko ] || insmod /lab/kinds.ko || fail "insmod kinds.ko"
mknod /dev/kinds c 10 "$(sed -n 's/ kinds$//p' /proc/misc)" 2>/dev/null
case $kind in
unloaded)
	insmod /lab/kinds_plugin.ko || fail "insmod kinds_plugin.ko"
	rmmod kinds_plugin || fail "rmmod kinds_plugin"
	;;
oomtmpfs)
	mkdir /tmp/spool
	mount -t tmpfs -o size=2g spool /tmp/spool
	dd if=/dev/zero of=/tmp/spool/batch-1 bs=1M count=20 2>/dev/null
	exec dd if=/dev/zero of=/tmp/spool/batch-2 bs=1M
	;;
oomrss) exec /bin/sh -c '/bin/orders --shard=7 eat; sleep 10' ;;
oomcgroup)
	mkdir /tmp/cg
	mount -t cgroup2 cgroup /tmp/cg
	echo +memory >/tmp/cg/cgroup.subtree_control
	mkdir /tmp/cg/pod-7
	echo 20M >/tmp/cg/pod-7/memory.max
	/bin/sh -c 'echo $$ >/tmp/cg/pod-7/cgroup.procs; exec /bin/orders --shard=7 eat' &
	sleep 30
	;;
init) exit 3 ;;
initsegv) exec /bin/orders segv ;;
mce)
	echo "kinds: ready for a machine check"
	sleep 60
	;;
nmi)
	echo "kinds: ready for an NMI"
	sleep 60
	;;
container)
	mkdir /tmp/cg
	mount -t cgroup2 cgroup /tmp/cg
	mkdir -p /tmp/cg/kubepods/pod-7
	echo "kinds: cgroup=/kubepods/pod-7"
	/bin/sh -c 'echo $$ >/tmp/cg/kubepods/pod-7/cgroup.procs
		exec /usr/bin/unshare -m -u -i -n -p -C -f /bin/sh -c "hostname orders-7; exec /bin/orders --shard=7 --config /etc/orders/a\ b.toml container"'
	fail "container"
	;;
esac
/bin/orders --shard=7 "$kind" &
wait
sleep 30
fail "nothing happened"
