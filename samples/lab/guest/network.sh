# A client network namespace behind a veth pair, and rules that make every module work.
# The full path matters: busybox prefers its own, smaller ip.
net() {
	/usr/sbin/ip "$@" || fail "ip $*"
}
in_client() {
	nsenter -t $CLIENT -n "$@"
}

unshare -n sleep 100000 &
CLIENT=$!
sleep 0.2
net link add v0 type veth peer name v1 netns $CLIENT
net addr add 10.9.0.1/24 dev v0
net link set v0 up
in_client /usr/sbin/ip addr add 10.9.0.2/24 dev v1
in_client /usr/sbin/ip link set v1 up
echo 1 >/proc/sys/net/netfilter/nf_conntrack_events
echo 1 >/proc/sys/net/netfilter/nf_conntrack_acct
iptables-legacy -A INPUT -m conntrack --ctstate INVALID -j DROP
iptables-legacy -A INPUT -p tcp --syn --dport 7000 -m connlimit --connlimit-above 6 -j REJECT
iptables-legacy -A INPUT -p udp --dport 7001 -j NFQUEUE --queue-num 0
iptables-legacy -A INPUT -p udp --dport 7002 -j NFQUEUE --queue-num 1
iptables-legacy -t nat -A PREROUTING -p udp --dport 7003 -j REDIRECT --to-ports 7000
