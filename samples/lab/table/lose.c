/* Loses connection entries, in the two ways that a faulty hook does, for UDP to these ports:
 *
 *   7100   NF_STOLEN, and the packet is forgotten: its entry stays unconfirmed for ever
 *   7101   takes a reference that nobody gives back: the entry outlives its place in the table
 */
#include <linux/init.h>
#include <linux/ip.h>
#include <linux/module.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/skbuff.h>
#include <linux/udp.h>
#include <net/ip.h>
#include <net/netfilter/nf_conntrack.h>

#define FORGET 7100
#define KEEP 7101

static unsigned int lose(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	enum ip_conntrack_info info;
	struct nf_conn *ct = nf_ct_get(skb, &info);
	struct udphdr *udp = (void *)ip_hdr(skb) + ip_hdrlen(skb);

	if (!ct || ip_hdr(skb)->protocol != IPPROTO_UDP || skb_headlen(skb) < ip_hdrlen(skb) + sizeof(*udp))
		return NF_ACCEPT;
	if (ntohs(udp->dest) == FORGET)
		return NF_STOLEN;
	if (ntohs(udp->dest) == KEEP)
		nf_conntrack_get(&ct->ct_general);
	return NF_ACCEPT;
}

static const struct nf_hook_ops hook = {
	.hook = lose,
	.pf = NFPROTO_IPV4,
	.hooknum = NF_INET_LOCAL_IN,
	.priority = NF_IP_PRI_FILTER - 1,
};

static int __init lose_init(void)
{
	return nf_register_net_hook(&init_net, &hook);
}

static void __exit lose_exit(void)
{
	nf_unregister_net_hook(&init_net, &hook);
}

module_init(lose_init);
module_exit(lose_exit);
MODULE_LICENSE("GPL");
