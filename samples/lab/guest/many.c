// SPDX-License-Identifier: GPL-2.0
/* Fill the connection table with a known mix of entries, as ctnetlink would create them.
 *
 * Entry i has the kind i % 16, and addresses and ports that follow from i. Everything goes through
 * the kernel's own allocation and insertion; nothing is written behind its back.
 */
#include <linux/module.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/netfilter/nf_conntrack_acct.h>
#include <net/netfilter/nf_conntrack_core.h>
#include <net/netfilter/nf_conntrack_zones.h>

static uint entries = 1000;
module_param(entries, uint, 0);
MODULE_PARM_DESC(entries, "how many entries to insert");

#define ZONE 7
#define REPLIED (IPS_SEEN_REPLY)
#define ASSURED (IPS_SEEN_REPLY | IPS_ASSURED)
#define DNAT (IPS_DST_NAT | IPS_NAT_DONE_MASK)

struct kind {
	const char *name;
	u8 l3num, protocol, tcp_state;
	u16 zone;
	unsigned long status;
	unsigned int seconds;
	bool accounted;
};

static const struct kind kinds[16] = {
	[0 ... 7] = { "tcp-established", AF_INET, IPPROTO_TCP, TCP_CONNTRACK_ESTABLISHED, 0, ASSURED, 432000 },
	[8] = { "udp-unreplied", AF_INET, IPPROTO_UDP, 0, 0, 0, 3000 },
	[9] = { "udp-assured", AF_INET, IPPROTO_UDP, 0, 0, ASSURED, 12000 },
	[10] = { "udp-replied", AF_INET, IPPROTO_UDP, 0, 0, REPLIED, 3000 },
	[11] = { "icmp", AF_INET, IPPROTO_ICMP, 0, 0, REPLIED, 3000 },
	[12] = { "tcp6-time-wait", AF_INET6, IPPROTO_TCP, TCP_CONNTRACK_TIME_WAIT, 0, ASSURED, 12000 },
	[13] = { "udp6-unreplied", AF_INET6, IPPROTO_UDP, 0, 0, 0, 3000 },
	[14] = { "tcp-dnat", AF_INET, IPPROTO_TCP, TCP_CONNTRACK_CLOSE_WAIT, 0, ASSURED | DNAT, 6000 },
	[15] = { "udp-zone-accounted", AF_INET, IPPROTO_UDP, 0, ZONE, REPLIED, 3000, true },
};

static void fill_addresses(struct nf_conntrack_tuple *tuple, const struct kind *kind, uint i)
{
	if (kind->l3num == AF_INET) {
		tuple->src.u3.ip = htonl(0x0a000000 | (i >> 4));
		tuple->dst.u3.ip = htonl(0xc0000200 | (i & 0xff));
		return;
	}
	tuple->src.u3.ip6[0] = tuple->dst.u3.ip6[0] = htonl(0x20010db8);
	tuple->src.u3.ip6[3] = htonl(i + 1);
	tuple->dst.u3.ip6[3] = htonl(0xffff);
}

static void fill_tuples(struct nf_conntrack_tuple tuples[2], const struct kind *kind, uint i)
{
	struct nf_conntrack_tuple *original = &tuples[0], *reply = &tuples[1];

	memset(tuples, 0, 2 * sizeof(*tuples));
	original->src.l3num = reply->src.l3num = kind->l3num;
	original->dst.protonum = reply->dst.protonum = kind->protocol;
	reply->dst.dir = IP_CT_DIR_REPLY;
	fill_addresses(original, kind, i);
	reply->src.u3 = original->dst.u3;
	reply->dst.u3 = original->src.u3;
	if (kind->protocol == IPPROTO_ICMP) {
		original->src.u.icmp.id = reply->src.u.icmp.id = htons(i >> 4);
		original->dst.u.icmp.type = 8;
		return;
	}
	original->src.u.all = reply->dst.u.all = htons(1024 + i % 60000);
	original->dst.u.all = reply->src.u.all = htons(kind->protocol == IPPROTO_TCP ? 443 : 53);
	if (kind->status & IPS_DST_NAT) {
		reply->src.u3.ip = htonl(0xac100001);
		reply->src.u.all = htons(8080);
	}
}

static void account(struct nf_conn *ct, uint i)
{
	struct nf_conn_acct *acct = nf_ct_acct_ext_add(ct, GFP_KERNEL);
	int dir;

	for (dir = 0; acct && dir < IP_CT_DIR_MAX; dir++) {
		atomic64_set(&acct->counter[dir].packets, i + 1 + dir);
		atomic64_set(&acct->counter[dir].bytes, 100ULL * (i + 1) + dir);
	}
}

static int insert(const struct kind *kind, uint i)
{
	struct nf_conntrack_tuple tuples[2];
	struct nf_conntrack_zone zone;
	struct nf_conn *ct;
	int error;

	fill_tuples(tuples, kind, i);
	nf_ct_zone_init(&zone, kind->zone, NF_CT_DEFAULT_ZONE_DIR, 0);
	ct = nf_conntrack_alloc(&init_net, &zone, &tuples[0], &tuples[1], GFP_KERNEL);
	if (IS_ERR(ct))
		return PTR_ERR(ct);
	if (kind->accounted)
		account(ct, i);
	ct->timeout = nfct_time_stamp + kind->seconds * HZ;
	ct->status |= IPS_CONFIRMED | kind->status;
	ct->proto.tcp.state = kind->tcp_state;
	ct->mark = i;
	error = nf_conntrack_hash_check_insert(ct);
	if (!error)
		nf_ct_put(ct);
	return error;
}

static int __init many_init(void)
{
	uint counts[16] = {}, i;
	u64 marks = 0;
	int error;

	for (i = 0; i < entries; i++) {
		error = insert(&kinds[i % 16], i);
		if (error) {
			pr_err("lab: failed: entry %u: %d\n", i, error);
			return error;
		}
		counts[i % 16]++;
		marks += i;
		cond_resched();
	}
	for (i = 7; i < 16; i++)
		pr_info("many: %s %u\n", kinds[i].name, i == 7 ? 8 * (entries / 16) + min(entries % 16, 8U) : counts[i]);
	pr_info("many: inserted %u, sum of marks %llu\n", entries, marks);
	return 0;
}

static void __exit many_exit(void)
{
}

module_init(many_init);
module_exit(many_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("crashkit lab: a full connection table");
