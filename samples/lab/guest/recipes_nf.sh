# One scenario of a netfilter recipe: $module is loaded with $case, $traffic is what sets it off.
module= case= traffic=
. /lab/parameters
. /lab/network.sh
[ -z "$module" ] || insmod /lab/$module.ko case=$case || fail "insmod $module.ko"
send() {
	in_client flood_table send 10.9.0.1 "$1" "$2" || fail "flood_table $*"
}

# A connection to 10.9.0.1, and one more: the second finds the first one remembered.
connections() {
	flows serve 7300 &
	sleep 0.3
	in_client flows talk tcp 10.9.0.1 7300 1 &
	sleep 0.5
	in_client flows talk tcp 10.9.0.1 7300 1 &
	sleep 10
}

# A datagram to an echo server: the entry is new as it comes in, and in the table as the answer goes.
datagram() {
	flows serve 7200 &
	sleep 0.3
	in_client flows talk udp 10.9.0.1 7200 1 &
	sleep 10
}

# An echo request that a queue holds and gives back at once.
echo_request() {
	iptables-legacy -I INPUT -p icmp -j NFQUEUE --queue-num 5
	flows queue 5 0 &
	sleep 0.3
	in_client ping -c 1 10.9.0.1 &
	sleep 10
}

crash() {
	sed 's/^/lab: truth queue /' /proc/net/netfilter/nfnetlink_queue
	echo c >/proc/sysrq-trigger
}

# More packets than the queue may hold. Its listener has taken some, and was stopped.
stopped() {
	listener 1 stop &
	sleep 0.3
	send 7002 300
	crash
}

# As stopped, but the listener went on, and has served the queue.
served() {
	listener 1 serve &
	sleep 0.3
	send 7002 300
	kill -CONT $!
	sleep 2
	crash
}

# Full, and the listener is at work on a packet: it computes, and does not sleep.
working() {
	listener 1 work &
	sleep 0.3
	send 7002 300
	crash
}

$traffic
fail "no crash"
