// SPDX-License-Identifier: GPL-2.0
/* One crash of the network code for each recipe of recipes/net, on an unmodified kernel.
 *
 * case= says which; a case that ends in -lookalike has the same message and the same faulting
 * function, but not the state that the recipe claims. samples/lab/README.md says what is real in
 * each and what is planted.
 */
#include <linux/etherdevice.h>
#include <linux/inetdevice.h>
#include <linux/kdebug.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/refcount.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#include <linux/string.h>
#include <net/dst.h>
#include <net/dst_metadata.h>
#include <net/dst_ops.h>
#include <net/sock.h>

static char *which = "";
module_param_named(case, which, charp, 0);
MODULE_PARM_DESC(case, "the crash to make");

static char *device = "lo";
module_param(device, charp, 0);
MODULE_PARM_DESC(device, "name of the device that packets and references belong to");

#define ROOM 1000
#define RESERVED 32

static struct sk_buff *new_skb(void)
{
	struct sk_buff *skb = alloc_skb(ROOM, GFP_KERNEL);

	if (!skb)
		return NULL;
	skb->dev = dev_get_by_name(&init_net, device);
	skb_reserve(skb, RESERVED);
	return skb;
}

/* What runs when the oops has been printed and before the dump is made. */
static void (*after_oops)(void);
static struct sk_buff *watched;
static unsigned int excess;

static int on_oops(struct notifier_block *block, unsigned long event, void *data)
{
	if (event == DIE_OOPS && after_oops)
		after_oops();
	return NOTIFY_DONE;
}

static struct notifier_block oops_notifier = { .notifier_call = on_oops };

/* skb_over_panic and skb_under_panic: a driver that does not look how much room there is. */

static noinline void append_too_much(struct sk_buff *skb)
{
	excess = skb_tailroom(skb) + 24;
	memset(skb_put(skb, excess), 0, excess);
}

static noinline void prepend_too_much(struct sk_buff *skb)
{
	memset(skb_push(skb, RESERVED + 22), 0, RESERVED + 22);
}

/* A second owner of the skb trims it between the message and the dump. */
static void trim_watched(void)
{
	watched->tail -= excess;
	watched->len -= excess;
}

static void over(struct sk_buff *skb)
{
	skb_put(skb, 100);
	append_too_much(skb);
}

static void over_lookalike(struct sk_buff *skb)
{
	watched = skb;
	after_oops = trim_watched;
	over(skb);
}

static void under(struct sk_buff *skb)
{
	skb_put(skb, 100);
	prepend_too_much(skb);
}

static unsigned long address_of(const char *name)
{
	struct kprobe probe = { .symbol_name = name };

	if (register_kprobe(&probe) < 0)
		return 0;
	unregister_kprobe(&probe);
	return (unsigned long)probe.addr;
}

/* The kernel's own report for an skb that has all the room it needs. */
static void under_lookalike(struct sk_buff *skb)
{
	void (*report)(struct sk_buff *, unsigned int, void *, const char *);

	report = (void *)address_of("skb_panic");
	skb_put(skb, 100);
	if (report)
		report(skb, 14, __builtin_return_address(0), "skb_under_panic");
}

/* An skb released twice. */

static noinline void release_twice(struct sk_buff *skb)
{
	kfree_skb(skb);
	kfree_skb(skb);
}

static void twice(struct sk_buff *skb)
{
	skb_put(skb, 100);
	preempt_disable();
	release_twice(skb);
	preempt_enable();
}

/* The allocator's list of free objects is made to lead to the data of an skb in use. */
#define MANY 8

static u64 *find_free_pointer(void *object, unsigned int size)
{
	u64 *word = object;

	for (; (void *)(word + 1) <= object + size; word++)
		if (*word != 0x5a5a5a5a5a5a5a5aULL)
			return word;
	return NULL;
}

static noinline void damage_free_list(struct sk_buff *freed, void *next, void *target)
{
	unsigned int size = skb_end_offset(freed);
	void *object = freed->head;
	u64 *place, secret;

	memset(object, 0x5a, size);
	kfree_skb(freed);
	place = find_free_pointer(object, size);
	if (!place) {
		pr_err("lab: failed: no free pointer\n");
		return;
	}
	secret = *place ^ (u64)next ^ swab64((u64)place);
	*place = (u64)target ^ secret ^ swab64((u64)place);
	new_skb(); /* takes the object that was freed last; the list now starts with the target */
}

static noinline void release_once(struct sk_buff *skb)
{
	kfree_skb(skb);
}

static void twice_lookalike(struct sk_buff *skb)
{
	struct sk_buff *skbs[MANY], *same[MANY];
	struct page *page;
	int i, n = 0;

	preempt_disable();
	for (i = 0; i < MANY; i++)
		skbs[i] = alloc_skb(ROOM, GFP_ATOMIC);
	page = virt_to_head_page(skbs[MANY - 1]->head);
	for (i = 0; i < MANY; i++)
		if (virt_to_head_page(skbs[i]->head) == page)
			same[n++] = skbs[i];
	if (n < 3) {
		preempt_enable();
		pr_err("lab: failed: no three objects of one slab\n");
		return;
	}
	same[0]->dev = skb->dev;
	{
		void *next = same[1]->head;

		kfree_skb(same[1]);
		damage_free_list(same[2], next, same[0]->head);
	}
	release_once(same[0]);
	preempt_enable();
}

/* A call through skb_dst(skb)->ops->update_pmtu without a look, as tunnels made it before commit
 * f15ca723c1eb ("net: don't call update_pmtu unconditionally").
 */

static struct dst_ops plain_ops = { .family = AF_UNSPEC };

static bool give_dst(struct sk_buff *skb)
{
	struct metadata_dst *tunnel = metadata_dst_alloc(0, METADATA_IP_TUNNEL, GFP_ATOMIC);

	if (!tunnel)
		return false;
	tunnel->dst.ops = &plain_ops;
	skb_dst_set(skb, &tunnel->dst);
	return true;
}

static noinline int tell_route_mtu(struct sk_buff *skb, unsigned int mtu)
{
	struct dst_entry *dst = skb_dst(skb);

	dst->ops->update_pmtu(dst, NULL, skb, mtu, true);
	barrier(); /* a call, not a jump to it */
	return skb->len;
}

static void no_op(struct sk_buff *skb)
{
	skb_put(skb, 100);
	if (give_dst(skb))
		tell_route_mtu(skb, 1400);
}

/* As before, but it is the device that has no such function. */
static noinline int tell_device_mtu(struct sk_buff *skb, unsigned int mtu)
{
	skb->dev->netdev_ops->ndo_change_mtu(skb->dev, mtu);
	barrier();
	return skb->len;
}

static const struct net_device_ops plain_device_ops = {};

static void no_op_lookalike(struct sk_buff *skb)
{
	skb_put(skb, 100);
	if (!give_dst(skb))
		return;
	skb->dev->netdev_ops = &plain_device_ops;
	tell_device_mtu(skb, 1400);
}

/* References to a device that nobody gives back, or late. */

static void hold(struct sk_buff *skb)
{
	dev_hold(skb->dev);
	/* and the one that new_skb() took */
}

/* A socket is used after its last reference was given back. */

static noinline void hold_freed_socket(struct sock *sk)
{
	sock_hold(sk);
}

static void counter(struct sk_buff *skb)
{
	struct socket *sock;
	struct sock *sk;

	if (sock_create_kern(&init_net, AF_INET, SOCK_DGRAM, IPPROTO_UDP, &sock))
		return;
	sk = sock->sk;
	sock_release(sock);
	rcu_barrier(); /* which is when it is freed */
	hold_freed_socket(sk);
}

/* The same with a counter that is in no object of the network. */
static void counter_lookalike(struct sk_buff *skb)
{
	refcount_t *own = kzalloc(512, GFP_KERNEL);

	if (!own)
		return;
	refcount_inc(own);
	pr_info("%d\n", refcount_read(own));
}

static const struct {
	const char *name;
	void (*run)(struct sk_buff *skb);
	bool crashes;
} cases[] = {
	{ "skb-over-panic", over, true },
	{ "skb-over-panic-lookalike", over_lookalike, true },
	{ "skb-under-panic", under, true },
	{ "skb-under-panic-lookalike", under_lookalike, true },
	{ "skb-double-free", twice, true },
	{ "skb-double-free-lookalike", twice_lookalike, true },
	{ "dst-ops-null", no_op, true },
	{ "dst-ops-null-lookalike", no_op_lookalike, true },
	{ "net-refcount", counter, true },
	{ "net-refcount-lookalike", counter_lookalike, true },
	{ "netdev-ref-leak", hold, false },
	{ "netdev-ref-leak-lookalike", hold, false },
};

static struct net_device *held;

static int __init recipes_net_init(void)
{
	struct sk_buff *skb = new_skb();
	int i;

	if (!skb || !skb->dev)
		return -ENODEV;
	held = skb->dev;
	register_die_notifier(&oops_notifier);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		if (strcmp(which, cases[i].name))
			continue;
		cases[i].run(skb);
		if (!cases[i].crashes)
			return 0;
	}
	pr_err("lab: failed: case %s did not crash\n", which);
	return -EINVAL;
}

/* Gives back what hold() took. */
static void __exit recipes_net_exit(void)
{
	dev_put(held);
	dev_put(held);
	unregister_die_notifier(&oops_notifier);
}

module_init(recipes_net_init);
module_exit(recipes_net_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("crashkit lab: crashes of the network code");
