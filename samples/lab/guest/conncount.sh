# A rule that counts connections, and a sender whose every packet is a new one. /lab/parameters sets
#   packets   how many it sends
#   last      number of the packet whose list is measured, 0 unless set
#   target    what the rule does above the limit: DROP, or nothing ("")
#   after     what happens before the crash: nothing, flush (conntrack -F) or oom (send on until then)
#   ballast   MiB of memory taken first
#   tables    legacy (iptables), or nft: half of the connections are counted by a rule of
#             nftables, the others by one of iptables-nft
. /lab/parameters
IP=/usr/sbin/ip
unshare -n sleep 100000 &
CLIENT=$!
sleep 0.2
$IP link add v0 type veth peer name v1 netns $CLIENT || fail "veth"
$IP addr add 192.0.2.1/24 dev v0
$IP link set v0 up
nsenter -t $CLIENT -n $IP addr add 192.0.2.2/24 dev v1
nsenter -t $CLIENT -n $IP link set v1 up
echo 65536 >/proc/sys/net/netfilter/nf_conntrack_max
iptables() {
	iptables-${tables:-legacy} "$@" || fail "iptables $*"
}
if [ "$tables" = nft ]; then
	nft add table inet count || fail "nft"
	nft 'add chain inet count in { type filter hook input priority -10; }'
	nft add rule inet count in udp sport 1024-30000 ct count over 60 counter drop || fail "nft"
fi
iptables -A INPUT -p udp -m connlimit --connlimit-above 60 --connlimit-mask 32 \
	${target:+-j $target}

flood() {
	nsenter -t $CLIENT -n conncount_flood 192.0.2.2 192.0.2.1 "$@" || fail "conncount_flood"
}

# What the kernel's own counting function returns for the last packet is the length of the list.
count_last() {
	mount -t tracefs tracefs /sys/kernel/tracing || fail "tracefs"
	counting=$(grep -o -w -E -m1 'nf_conncount_count(_skb)?' /proc/kallsyms)
	cd /sys/kernel/tracing
	echo "r:counted nf_conncount:$counting count=\$retval:u32" >kprobe_events || fail "kprobe"
	echo 1 >events/kprobes/counted/enable
	flood 1 ${last:-0}
	echo 0 >events/kprobes/counted/enable
	grep counted: trace
	cd /
}

show() {
	iptables -S INPUT
	iptables -nvxL INPUT
	[ "$tables" = nft ] && nft list table inet count
	echo "lab: conntracks $(conntrack -C)"
	grep -m1 '^jiffies:' /proc/timer_list
	echo "lab: uptime $(cut -d' ' -f1 /proc/uptime)"
	alias=$(readlink /sys/kernel/slab/nf_conncount_tuple)
	echo "lab: nf_conncount_tuple is $alias, with $(ls -l /sys/kernel/slab | grep -c -e "-> $alias\$") names"
	grep -E '^# name|nf_conncount| 72 +[0-9]+ +1 ' /proc/slabinfo
	grep -E 'MemTotal|MemFree|Slab|SUnreclaim' /proc/meminfo
}

if [ -n "$ballast" ]; then
	mount -t tmpfs -o size=${ballast}M ballast /tmp || fail "tmpfs"
	dd if=/dev/zero of=/tmp/ballast bs=1M count=$ballast 2>/dev/null
fi
echo "lab: before"
show
echo "lab: sending"
if [ "$after" = oom ]; then
	echo 1 >/proc/sys/vm/panic_on_oom
	while true; do
		flood 50000
		grep -E 'MemFree|SUnreclaim' /proc/meminfo
	done
fi
flood $packets
[ "$after" = nothing ] && count_last
[ "$after" = flush ] && conntrack -F
echo "lab: counted"
show
# The console of a newer kernel is written to by a thread of its own.
sleep 1
echo "lab: crashing"
echo c >/proc/sysrq-trigger
