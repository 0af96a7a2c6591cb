// SPDX-License-Identifier: GPL-2.0
/* Faults of net/netfilter that recipes tell apart, on an unmodified kernel; one for each case.
 *
 * case=uninit         the new entry of a UDP packet, on its way and in no table, is marked
 *                     confirmed and then deleted, as the garbage collector did before commit
 *                     2d72afb34065. Planted: that bit, and that the deletion comes right here.
 * case=uninit-poison  the packet's entry is in the table; its pprev is that of a deleted node.
 * case=uninit-small   the packet's entry is in the table; its pprev is a small number, as a hash
 *                     value is.
 *
 * case=helper         the new entry of a UDP packet has room for a helper, and none in it, as after
 *                     a helper was looked up again and not found. Planted: that room, and the
 *                     function that reads it, which is the kernel's as it was before 6.4.
 * case=helper-none    the entry has no such room; the function is without its test for that.
 * case=helper-bad     the helper is a poisoned pointer.
 *
 * case=truncate       a packet that a queue gives back is cut to one byte, as a verdict could do
 *                     before commit 99a63d36cb3e. Planted: that this module cuts it.
 * case=truncate-frag  such a packet is said to have 1000 bytes in fragments, and has none.
 */
#include <linux/module.h>
#include <linux/netfilter_ipv4.h>
#include <linux/poison.h>
#include <linux/udp.h>
#include <net/ip.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/netfilter/nf_conntrack_core.h>
#include <net/netfilter/nf_conntrack_helper.h>

static char *kind = "";
module_param_named(case, kind, charp, 0);
MODULE_PARM_DESC(case, "what to do to the entry of the first packet");

static ushort port = 7200;
module_param(port, ushort, 0);
MODULE_PARM_DESC(port, "UDP port of the packet");

static struct nf_conn *entry_of(const struct sk_buff *skb)
{
	enum ip_conntrack_info info;
	const struct udphdr *udp = (void *)skb->data + ip_hdrlen(skb);

	if (ip_hdr(skb)->protocol != IPPROTO_UDP)
		return NULL;
	if (skb_headlen(skb) < ip_hdrlen(skb) + sizeof(*udp))
		return NULL;
	if (udp->dest != htons(port) && udp->source != htons(port))
		return NULL;
	return nf_ct_get(skb, &info);
}

static void plant(struct nf_conn *ct)
{
	if (!strcmp(kind, "uninit"))
		set_bit(IPS_CONFIRMED_BIT, &ct->status);
	else if (!strcmp(kind, "uninit-poison"))
		ct->tuplehash[IP_CT_DIR_ORIGINAL].hnnode.pprev = LIST_POISON2;
	else if (!strcmp(kind, "uninit-small"))
		ct->tuplehash[IP_CT_DIR_REPLY].hnnode.pprev = (void *)0x8f2c41d6UL;
}

/* As the garbage collector does: a reference of its own, and the entry's end. */
static unsigned int remove(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	struct nf_conn *ct = entry_of(skb);

	if (!ct || nf_ct_is_confirmed(ct) == !strcmp(kind, "uninit"))
		return NF_ACCEPT;
	nf_conntrack_get(&ct->ct_general);
	plant(ct);
	nf_ct_delete(ct, 0, 0);
	nf_ct_put(ct);
	return NF_ACCEPT;
}

/* The beginning of the kernel's function of that name, as it was when it read the flags of every
 * helper; what it did for helpers of user space is left out.
 */
static __attribute__((__noipa__)) int nf_confirm_cthelper(struct sk_buff *skb, struct nf_conn *ct,
							 enum ip_conntrack_info ctinfo)
{
	const struct nf_conn_help *help = nfct_help(ct);
	const struct nf_conntrack_helper *helper;

	if (!help && strcmp(kind, "helper-none"))
		return 0;
	helper = rcu_dereference(help->helper);
	if (!(READ_ONCE(helper->flags) & NF_CT_HELPER_F_USERSPACE))
		return 0;
	return skb_nfct(skb) ? ctinfo : -1;
}

static unsigned int ask_helper(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	struct nf_conn *ct = entry_of(skb);
	struct nf_conn_help *help = NULL;

	if (!ct || nf_ct_is_confirmed(ct))
		return NF_ACCEPT;
	if (strcmp(kind, "helper-none")) {
		help = nf_ct_helper_ext_add(ct, GFP_ATOMIC);
		if (!help)
			return NF_ACCEPT;
	}
	if (!strcmp(kind, "helper-bad"))
		RCU_INIT_POINTER(help->helper, LIST_POISON1);
	return nf_confirm_cthelper(skb, ct, IP_CT_NEW) < 0 ? NF_DROP : NF_ACCEPT;
}

static unsigned int truncate(struct sk_buff *skb)
{
	if (ip_hdr(skb)->protocol != IPPROTO_ICMP)
		return NF_ACCEPT;
	skb->ip_summed = CHECKSUM_NONE;
	if (!strcmp(kind, "truncate"))
		return pskb_trim(skb, 1) ? NF_DROP : NF_ACCEPT;
	skb->len += 1000;
	skb->data_len += 1000;
	return NF_ACCEPT;
}

static unsigned int act(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	if (!strncmp(kind, "helper", 6))
		return ask_helper(priv, skb, state);
	if (!strncmp(kind, "truncate", 8))
		return state->hook == NF_INET_LOCAL_IN ? truncate(skb) : NF_ACCEPT;
	return remove(priv, skb, state);
}

/* The packet, before its entry is confirmed; and the answer, whose entry is in the table. */
static const struct nf_hook_ops hooks[] = {
	{
		.hook = act,
		.pf = NFPROTO_IPV4,
		.hooknum = NF_INET_LOCAL_IN,
		.priority = NF_IP_PRI_CONNTRACK_CONFIRM - 1,
	},
	{
		.hook = act,
		.pf = NFPROTO_IPV4,
		.hooknum = NF_INET_LOCAL_OUT,
		.priority = NF_IP_PRI_CONNTRACK + 1,
	},
};

static int __init recipes_nf_init(void)
{
	return nf_register_net_hooks(&init_net, hooks, ARRAY_SIZE(hooks));
}

static void __exit recipes_nf_exit(void)
{
	nf_unregister_net_hooks(&init_net, hooks, ARRAY_SIZE(hooks));
}

module_init(recipes_nf_init);
module_exit(recipes_nf_exit);
MODULE_LICENSE("GPL");
