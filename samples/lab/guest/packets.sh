# Packets that wait: in sockets, an nfnetlink queue, qdiscs, for a neighbour, for their other
# fragments; plain and in tunnels. Then what the kernel itself says of them.
. /lab/network.sh
link() {
	net link add "$@"
}
up() { # DEVICE ADDRESS...
	device=$1
	shift
	net link set $device up
	for address; do net addr add $address dev $device; done
}
qdisc() {
	/usr/sbin/tc qdisc add dev "$@" || fail "tc qdisc add dev $*"
}

# Under the tunnels: a device whose packets leave after 200 s.
link under type dummy
up under 10.20.0.1/24 fd20::1/64
qdisc under root handle 10: netem delay 200s limit 10000
link vx type vxlan id 42 local 10.20.0.1 remote 10.20.0.2 dev under dstport 4789
link gr type gre local 10.20.0.1 remote 10.20.0.3 key 7
link ii type ipip local 10.20.0.1 remote 10.20.0.4
link si type sit local 10.20.0.1 remote 10.20.0.5
link gn type geneve id 9 remote 10.20.0.6
link under.100 link under type vlan id 100
link under.q link under.100 type vlan id 200
up vx 10.21.0.1/24
up gr 10.22.0.1/24
up ii 10.23.0.1/24
up si fd24::1/64
up gn 10.25.0.1/24
up under.100 10.26.0.1/24
up under.q 10.27.0.1/24
for device in vx:10.21.0.2 gn:10.25.0.2 under.100:10.26.0.2 under.q:10.27.0.2; do
	net neigh add ${device#*:} lladdr 02:00:00:00:00:02 dev ${device%:*}
done
# Devices whose backlog is in other places: one packet leaves, the others wait.
for child in pfifo_fast fq_codel pfifo; do
	link s_$child type dummy
	qdisc s_$child root handle 1: tbf rate 1kbit burst 1600 limit 100000
	qdisc s_$child parent 1: handle 2: $child
done
up s_pfifo_fast 10.31.0.1/24
up s_fq_codel 10.32.0.1/24
up s_pfifo 10.33.0.1/24

cat >/run/rules <<'RULES'
table inet lab {
	set ports {
		type inet_service
		elements = { 81, 82 }
	}
	chain input {
		type filter hook input priority 10; policy accept;
		tcp dport 7999 counter drop
		udp dport @ports counter accept
		ip saddr 10.66.0.0/16 ct state established,related accept
		meta l4proto udp ct count over 500 counter reject
	}
	chain out {
		type route hook output priority -150; policy accept;
		oifname "under" counter meta mark set 0x2a
	}
	chain other {
		ip6 daddr fd20::/64 limit rate 10/second log prefix "lab " queue num 3
	}
}
RULES
nft -f /run/rules || fail nft
echo 0 >/proc/sys/net/netfilter/nf_conntrack_tcp_loose
echo 123 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout
echo 3600 >/proc/sys/net/ipv4/neigh/v0/mcast_solicit
echo 300 >/proc/sys/net/ipv4/ipfrag_time

packets hold 7100 &
flows serve 7000 &
flows queue 1 hold &
sleep 0.5
in_client packets fill 10.9.0.1 7100 300000 &
in_client packets send 10.9.0.1 7100 700 3 &
in_client flows talk udp 10.9.0.1 7002 3 &
in_client flows talk tcp 10.9.0.1 7000 2 &
in_client packets first-fragment 10.9.0.2 10.9.0.1 7100 &
packets send 10.9.0.77 7200 100 2 &
packets send 10.20.0.9 7300 100 1 &
packets send 10.20.0.9 7301 4000 1 &
packets send fd20::9 7302 100 1 &
packets send 10.21.0.2 7310 100 1 &
packets send 10.22.0.2 7311 100 1 &
packets send 10.23.0.2 7312 100 1 &
packets send fd24::2 7313 100 1 &
packets send 10.25.0.2 7314 100 1 &
packets send 10.26.0.2 7315 100 1 &
packets send 10.27.0.2 7316 100 1 &
packets send 10.31.0.2 7320 1000 4 &
packets send 10.32.0.2 7321 1000 5 &
packets send 10.33.0.2 7322 1000 6 &
sleep 2

section() {
	echo "lab: $1:"
}
section conntrack
conntrack -L || fail "conntrack -L"
section queues
cat /proc/net/netfilter/nfnetlink_queue
section statistics
cat /proc/net/stat/nf_conntrack
section sysctls
(cd /proc/sys/net/netfilter && grep . nf_conntrack_*)
section qdiscs
/usr/sbin/tc -s qdisc show
section udp
cat /proc/net/udp
section tcp
cat /proc/net/tcp
section tcp-client
in_client cat /proc/net/tcp
section fragments
cat /proc/net/sockstat
section neighbours
/usr/sbin/ip neigh
section iptables
iptables-legacy-save
section nft
nft -n list ruleset
section hooks
nft list hooks
echo "lab: crashing"
echo c >/proc/sysrq-trigger
