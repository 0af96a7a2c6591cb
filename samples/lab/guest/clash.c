// SPDX-License-Identifier: GPL-2.0
/* Read a conntrack's namespace through a pointer that is no longer valid, on an unmodified kernel.
 *
 * Up to Linux 5.18, nf_conntrack_confirm() kept its nf_conn pointer over __nf_conntrack_confirm(),
 * which may drop that nf_conn when another one of the same tuple has come first (fixed by commit
 * 56b14ecec97f, "netfilter: conntrack: re-fetch conntrack after insertion"). This module is a hook
 * right before the kernel's own confirming hook. It does the same with the first packet to arrive
 * from the queue. Real here: both packets and nf_conns, the winner's way into the table, the clash,
 * its resolution by the kernel, the re-use of the loser's slab object by a third packet's nf_conn.
 *
 * Planted: the kernels of today write ct_net early and deliver events for confirmed entries alone.
 * So the third packet's nf_conn is given what the re-allocation of an older kernel, caught half
 * way, looks like to the event code: ct_net NULL, CONFIRMED set, an event to deliver. After the
 * oops its own CPU takes this back, as the older allocator would have gone on to write ct_net.
 *
 * own=1 is a look-alike without a clash: the packet's own, valid nf_conn is given a NULL ct_net.
 * restore=0 leaves the planted values in memory.
 */
#include <linux/atomic.h>
#include <linux/jiffies.h>
#include <linux/kdebug.h>
#include <linux/module.h>
#include <linux/netfilter_ipv4.h>
#include <net/ip.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/netfilter/nf_conntrack_core.h>
#include <net/netfilter/nf_conntrack_ecache.h>

static bool own;
module_param(own, bool, 0);
MODULE_PARM_DESC(own, "plant in the packet's own nf_conn, without a clash");

static bool restore = true;
module_param(restore, bool, 0);
MODULE_PARM_DESC(restore, "take back what was planted before the dump is written");

static ushort port = 4789;
module_param(port, ushort, 0);
MODULE_PARM_DESC(port, "destination port of the packets to clash");

enum step { IDLE, STARTED, DROPPED, PLANTED, FAULTED, RESTORED };

static atomic_t step = ATOMIC_INIT(IDLE);
static struct nf_conn *stale;

/* Busily, since hooks may not sleep. */
static bool wait_for(enum step wanted, unsigned int seconds)
{
	unsigned long end = jiffies + seconds * HZ;

	while (atomic_read_acquire(&step) < wanted) {
		if (time_after(jiffies, end))
			return false;
		cpu_relax();
	}
	return true;
}

static bool is_in_table(struct net *net, const struct nf_conntrack_tuple *tuple)
{
	struct nf_conntrack_tuple_hash *found = nf_conntrack_find_get(net, &nf_ct_zone_dflt, tuple);

	if (found)
		nf_ct_put(nf_ct_tuplehash_to_ctrack(found));
	return found;
}

static bool wait_for_winner(struct net *net, const struct nf_conn *ct)
{
	unsigned long end = jiffies + 5 * HZ;

	while (!is_in_table(net, &ct->tuplehash[IP_CT_DIR_ORIGINAL].tuple)) {
		if (time_after(jiffies, end))
			return false;
		cpu_relax();
	}
	return true;
}

static void plant(struct nf_conn *ct)
{
	set_bit(IPCT_NEW, &nf_ct_ecache_find(ct)->cache);
	set_bit(IPS_CONFIRMED_BIT, &ct->status);
	write_pnet(&ct->ct_net, NULL);
}

/* An nf_conn of the packet's own is confirmed in earnest: that bit stays. */
static void take_back(struct nf_conn *ct)
{
	write_pnet(&ct->ct_net, &init_net);
	if (!own)
		clear_bit(IPS_CONFIRMED_BIT, &ct->status);
}

/* nf_conntrack_confirm() of Linux 5.18. */
static noinline unsigned int confirm_keeping_ct(struct sk_buff *skb)
{
	struct nf_conn *ct = (struct nf_conn *)skb_nfct(skb);
	unsigned int verdict = __nf_conntrack_confirm(skb);

	if (verdict != NF_ACCEPT)
		return verdict;
	if (own)
		plant(ct);
	WRITE_ONCE(stale, ct);
	atomic_set_release(&step, DROPPED);
	if (!own && skb_nfct(skb) == &ct->ct_general)
		pr_err("lab: failed: no clash\n");
	else if (!wait_for(PLANTED, 10))
		pr_err("lab: failed: the slab object was not used again\n");
	else
		nf_ct_deliver_cached_events(ct);
	return skb_nfct(skb) ? NF_ACCEPT : NF_DROP;
}

static bool has_port(const struct sk_buff *skb)
{
	__be16 ports[2];

	return !skb_copy_bits(skb, ip_hdrlen(skb), ports, sizeof(ports)) && ports[1] == htons(port);
}

static unsigned int before_confirm(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	enum ip_conntrack_info ctinfo;
	struct nf_conn *ct = nf_ct_get(skb, &ctinfo);

	if (!ct || nf_ct_is_confirmed(ct) || !has_port(skb))
		return NF_ACCEPT;
	if (atomic_cmpxchg(&step, IDLE, STARTED) != IDLE)
		return NF_ACCEPT;
	if (!own && !wait_for_winner(state->net, ct)) {
		pr_err("lab: failed: no other nf_conn of this tuple was confirmed\n");
		return NF_ACCEPT;
	}
	return confirm_keeping_ct(skb);
}

/* The third packet, on the other CPU, right after conntrack has given it an nf_conn. */
static unsigned int after_conntrack(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	enum ip_conntrack_info ctinfo;
	struct nf_conn *ct = nf_ct_get(skb, &ctinfo);

	if (atomic_read_acquire(&step) != DROPPED || !ct)
		return NF_ACCEPT;
	if (!own && ct != READ_ONCE(stale))
		return NF_ACCEPT;
	if (!own)
		plant(ct);
	atomic_set_release(&step, PLANTED);
	if (wait_for(FAULTED, 10) && restore) {
		take_back(READ_ONCE(stale));
		atomic_set_release(&step, RESTORED);
	}
	wait_for(RESTORED + 1, 10); /* until the crash stops this CPU */
	return NF_ACCEPT;
}

static int on_oops(struct notifier_block *block, unsigned long event, void *data)
{
	if (event == DIE_OOPS && atomic_cmpxchg(&step, PLANTED, FAULTED) == PLANTED && restore)
		wait_for(RESTORED, 2);
	return NOTIFY_DONE;
}

static struct notifier_block oops_notifier = { .notifier_call = on_oops };

static const struct nf_hook_ops hooks[] = {
	{
		.hook = after_conntrack,
		.pf = NFPROTO_IPV4,
		.hooknum = NF_INET_PRE_ROUTING,
		.priority = NF_IP_PRI_CONNTRACK + 1,
	},
	{
		.hook = before_confirm,
		.pf = NFPROTO_IPV4,
		.hooknum = NF_INET_LOCAL_IN,
		.priority = NF_IP_PRI_CONNTRACK_CONFIRM - 1,
	},
};

static int __init clash_init(void)
{
	int error = register_die_notifier(&oops_notifier);

	if (error)
		return error;
	error = nf_register_net_hooks(&init_net, hooks, ARRAY_SIZE(hooks));
	if (error)
		unregister_die_notifier(&oops_notifier);
	return error;
}

static void __exit clash_exit(void)
{
	nf_unregister_net_hooks(&init_net, hooks, ARRAY_SIZE(hooks));
	unregister_die_notifier(&oops_notifier);
}

module_init(clash_init);
module_exit(clash_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("crashkit lab: use an nf_conn after a clash");
