# Bursts of one new tuple through NFQUEUE between the two conntrack phases, verdicts from another CPU.
# busybox's ip knows no peer.
IP=/usr/sbin/ip
unshare -n sleep 100000 &
CLIENT=$!
sleep 0.2
$IP link add v0 type veth peer name v1 netns $CLIENT || fail "veth"
$IP addr add 192.0.2.1/24 dev v0
$IP link set v0 up
nsenter -t $CLIENT -n $IP addr add 192.0.2.2/24 dev v1
nsenter -t $CLIENT -n $IP link set v1 up
CPUS=$(nproc)

# Spread the flows over all CPUs; which one takes a flow is a hash of its tuple.
printf %x $(((1 << CPUS) - 1)) >/sys/class/net/v0/queues/rx-0/rps_cpus
# The first rule makes the namespace track connections at all; the second stands between the two phases.
iptables-legacy -A INPUT -i v0 -p udp -m conntrack --ctstate INVALID -j DROP || fail "iptables"
iptables-legacy -A INPUT -i v0 -p udp -j NFQUEUE --queue-balance 0:$((CPUS - 1)) --queue-cpu-fanout ||
	fail "iptables"
echo 65536 >/proc/sys/net/netfilter/nf_conntrack_max
echo 4096 >/proc/sys/net/netfilter/nf_conntrack_buckets
echo 1 >/proc/sys/net/netfilter/nf_conntrack_events
echo 2 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout
echo 2 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream

echo "lab: storm begins at $(cut -d' ' -f1 /proc/uptime) s"
storm 600 /proc/$CLIENT/ns/net 192.0.2.2 192.0.2.1
fail "no crash"
