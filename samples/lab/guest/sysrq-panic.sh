# Nothing is wrong here but the crash: connections of every kind, packets parked in a queue.
. /lab/network.sh
flows serve 7000 &
flows queue 0 0 &
flows queue 1 hold &
sleep 0.5
in_client flows talk tcp 10.9.0.1 7000 8 &
in_client flows talk udp 10.9.0.1 7000 5 &
in_client flows talk udp 10.9.0.1 7001 4 &
in_client flows talk udp 10.9.0.1 7002 3 &
in_client flows talk udp 10.9.0.1 7003 2 &
in_client flows talk udp 10.9.0.1 7999 2 &
in_client ping -c 2 -i 1 10.9.0.1
conntrack -L || fail "conntrack -L"
cat /proc/net/netfilter/nfnetlink_queue
echo "lab: crashing"
echo c >/proc/sysrq-trigger
