# Fill the connection table of the first namespace in the way that $kind says, tell the truth, crash.
kind=
. /lab/parameters
. /lab/network.sh
ct=/proc/sys/net/netfilter
[ ! -e /lab/lose.ko ] || insmod /lab/lose.ko || fail "insmod lose.ko"
flood() {
	in_client flood_table send 10.9.0.1 "$1" "$2" || fail "flood_table $*"
}
limit() {
	echo "$1" >$ct/nf_conntrack_max || fail "nf_conntrack_max"
}
# The listing collects entries that have expired, so the count is taken before and after it.
truth() {
	echo "lab: truth count $(cat $ct/nf_conntrack_count)"
	echo "lab: truth max $(cat $ct/nf_conntrack_max)"
	[ "$1" = unlisted ] || {
		echo "lab: truth listed $(conntrack -L 2>/dev/null | wc -l)"
		echo "lab: truth dying $(conntrack -L dying 2>/dev/null | wc -l)"
		echo "lab: truth count-after $(cat $ct/nf_conntrack_count)"
	}
	grep ^nf_conntrack /proc/slabinfo | sed 's/^/lab: truth slab /'
	sed 's/^/lab: truth queue /' /proc/net/netfilter/nfnetlink_queue
	conntrack -S | sed 's/^/lab: truth stat /'
}
queue() {
	flows queue 1 hold &
	sleep 0.5
	flood 7002 "$1"
}
forget() {
	flood 7100 "$1"
}
keep() {
	echo 1 >$ct/nf_conntrack_udp_timeout
	flood 7101 "$1"
	sleep 2
	echo 30 >$ct/nf_conntrack_udp_timeout
	conntrack -F 2>/dev/null || fail "conntrack -F"
}
events() {
	flood_table deaf &
	sleep 0.5
	flood 7999 "$1"
	conntrack -F 2>/dev/null || fail "conntrack -F"
	sleep 0.5
}

# Packets to nobody wait for an address that is asked for 30 times, a second each.
unresolved() {
	echo 30 >/proc/sys/net/ipv4/neigh/v0/mcast_solicit
	flood_table send 10.9.0.99 7999 3 || fail "flood_table"
}

listing=
flows serve 7000 &
sleep 0.3
in_client flows talk udp 10.9.0.1 7000 5 &
sleep 0.3
case $kind in
legit)
	limit 300
	flood 7999 600
	;;
queue)
	queue 200
	unresolved
	limit 150
	flood 7999 20
	;;
leak)
	forget 120
	keep 80
	limit 150
	flood 7999 20
	;;
events)
	events 300
	limit 200
	flood 7999 20
	;;
gclag)
	echo 1 >$ct/nf_conntrack_udp_timeout
	flood 7999 300
	sleep 2
	limit 200
	listing=unlisted
	;;
mixed)
	keep 60
	forget 90
	queue 80
	unresolved
	events 100
	limit 250
	flood 7999 20
	;;
lookalike)
	queue 1
	limit 4
	flood 7999 20
	limit 65536
	conntrack -F 2>/dev/null || fail "conntrack -F"
	in_client flows talk udp 10.9.0.1 7000 5 &
	sleep 0.5
	;;
esac
truth $listing
echo "lab: crashing"
echo c >/proc/sysrq-trigger
