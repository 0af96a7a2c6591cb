# A large connection table. What the guest itself says of it comes before the crash.
entries=1000
. /lab/parameters
sysctl() {
	echo "$2" >/proc/sys/net/netfilter/$1 || fail "$1"
}
sysctl nf_conntrack_max 4000000
sysctl nf_conntrack_buckets 262144
sysctl nf_conntrack_acct 1
insmod /lab/many.ko entries=$entries || fail "insmod many.ko"
conntrack -L >/run/listed 2>/run/shown || fail "conntrack -L"
cat /run/shown
echo "many: lines $(wc -l </run/listed)"
echo "many: assured $(grep -c ASSURED /run/listed) unreplied $(grep -c UNREPLIED /run/listed)"
awk -v step=$((entries / 32 + 1)) 'NR % step == 1 { print "many: line " $0 }' /run/listed
conntrack -C | sed 's/^/many: counter /'
cat /proc/sys/net/netfilter/nf_conntrack_buckets | sed 's/^/many: buckets /'
grep -E '^nf_conntrack |active_objs' /proc/slabinfo
conntrack -S | head -2
rm /run/listed
echo "lab: crashing"
echo c >/proc/sysrq-trigger
