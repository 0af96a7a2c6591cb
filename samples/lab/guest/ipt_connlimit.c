// SPDX-License-Identifier: GPL-2.0
/* Counts the connections of one host, and reads a pointer that a short circuit left NULL.
 *
 * A match of patch-o-matic for Linux 2.6.11 looked up each connection it remembered and kept the
 * entry it found only where the remembered tuple was the packet's; then it read the TCP state of
 * what it had kept, whatever had been found. This module has the same order of steps, written for
 * the kernels of today, and runs as a hook instead of a match. The first SYN of a host is
 * remembered; the second finds the first one's entry, keeps nothing, and reads through NULL.
 *
 * case=member is a look-alike: the entry's status is read in place of the state.
 * case=bad is another: an entry is kept, but it is no longer one (a poisoned pointer).
 */
#include <linux/list.h>
#include <linux/module.h>
#include <linux/netfilter_ipv4.h>
#include <linux/poison.h>
#include <linux/slab.h>
#include <linux/tcp.h>
#include <net/ip.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/netfilter/nf_conntrack_core.h>

static char *kind = "null";
module_param_named(case, kind, charp, 0);
MODULE_PARM_DESC(case, "null, member or bad");

static ushort port = 7300;
module_param(port, ushort, 0);
MODULE_PARM_DESC(port, "TCP port whose connections are counted");

struct remembered {
	struct list_head list;
	struct nf_conntrack_tuple tuple;
};

static LIST_HEAD(all);
static DEFINE_SPINLOCK(lock);

static bool is_same(const struct nf_conntrack_tuple *a, const struct nf_conntrack_tuple *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* The order of the conditions is the bug. */
static noinline int count_them(struct net *net, struct nf_conn *ct)
{
	const struct nf_conntrack_tuple tuple = ct->tuplehash[IP_CT_DIR_ORIGINAL].tuple;
	struct nf_conntrack_tuple_hash *found;
	struct remembered *conn;
	bool add = true;
	int matches = 0;

	list_for_each_entry(conn, &all, list) {
		struct nf_conn *found_ct = NULL;

		found = nf_conntrack_find_get(net, &nf_ct_zone_dflt, &conn->tuple);
		if (is_same(&conn->tuple, &tuple) && found &&
		    (found_ct = nf_ct_tuplehash_to_ctrack(found)) &&
		    found_ct->proto.tcp.state != TCP_CONNTRACK_TIME_WAIT)
			add = false;
		if (!found)
			continue;
		if (*kind == 'b')
			found_ct = LIST_POISON1;
		if (*kind == 'm' && READ_ONCE(found_ct->status) & IPS_DYING)
			continue;
		if (READ_ONCE(found_ct->proto.tcp.state) == TCP_CONNTRACK_TIME_WAIT)
			continue;
		if (conn->tuple.src.u3.ip == tuple.src.u3.ip)
			matches++;
		nf_ct_put(found_ct);
	}
	if (add) {
		conn = kmalloc(sizeof(*conn), GFP_ATOMIC);
		if (conn) {
			conn->tuple = tuple;
			list_add(&conn->list, &all);
			matches++;
		}
	}
	return matches;
}

static unsigned int match(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	enum ip_conntrack_info info;
	struct nf_conn *ct = nf_ct_get(skb, &info);
	const struct tcphdr *tcp = (void *)skb->data + ip_hdrlen(skb);
	int matches;

	if (!ct || ip_hdr(skb)->protocol != IPPROTO_TCP)
		return NF_ACCEPT;
	if (skb_headlen(skb) < ip_hdrlen(skb) + sizeof(*tcp))
		return NF_ACCEPT;
	if (!tcp->syn || tcp->ack || tcp->dest != htons(port))
		return NF_ACCEPT;
	spin_lock_bh(&lock);
	matches = count_them(state->net, ct);
	spin_unlock_bh(&lock);
	return matches > 8 ? NF_DROP : NF_ACCEPT;
}

static const struct nf_hook_ops hook = {
	.hook = match,
	.pf = NFPROTO_IPV4,
	.hooknum = NF_INET_LOCAL_IN,
	.priority = NF_IP_PRI_FILTER,
};

static int __init ipt_connlimit_init(void)
{
	return nf_register_net_hook(&init_net, &hook);
}

static void __exit ipt_connlimit_exit(void)
{
	struct remembered *conn, *next;

	nf_unregister_net_hook(&init_net, &hook);
	list_for_each_entry_safe(conn, next, &all, list)
		kfree(conn);
}

module_init(ipt_connlimit_init);
module_exit(ipt_connlimit_exit);
MODULE_LICENSE("GPL");
