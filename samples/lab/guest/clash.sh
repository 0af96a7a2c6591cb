# Crash in clash.ko's hook. The queue's program for the second packet runs on CPU 0 and ends up in
# that hook; everything else stays on CPU 1, so that slab objects freed by the hook are used there.
module= traffic=twins
. /lab/parameters
taskset -p 2 $$ >/dev/null
. /lab/network.sh
iptables-legacy -A INPUT -p udp --dport 4789 -m length ! --length 106 -j NFQUEUE --queue-num 3
iptables-legacy -A INPUT -p udp --dport 4789 -j NFQUEUE --queue-num 2
iptables-legacy -A INPUT -p tcp --dport 4789 -j NFQUEUE --queue-num 3
flows serve 4789 &
flows serve 7000 &
flows queue 2 300 &
taskset 1 flows queue 3 0 &
insmod /lab/clash.ko $module || fail "insmod clash.ko"
sleep 0.5
in_client flows talk tcp 10.9.0.1 7000 3 &
sleep 0.3
in_client flows $traffic 10.9.0.1 4789 $([ "$traffic" = twins ] || echo 1) &
sleep 1
in_client flows talk udp 10.9.0.1 7000 300 &
sleep 20
fail "no crash"
