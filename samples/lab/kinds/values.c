// SPDX-License-Identifier: GPL-2.0
/* Pointers that are not NULL and lead nowhere: each with the value its history would give it. */
#include <linux/list.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include "kinds.h"

DEEP static u32 next_depth(struct queue *queue)
{
	return list_next_entry(queue, link)->depth + 1;
}

static void list_poison(struct port *port)
{
	struct queue *queue = new_queue(port);

	new_queue(port);
	fact("queue=%px", queue);
	list_del(&queue->link);
	sink += next_depth(queue);
}

DEEP static void unhash(struct queue *queue)
{
	hlist_del(&queue->hashed);
}

static void hlist_poison(struct port *port)
{
	static struct hlist_head bucket;
	struct queue *queue = new_queue(port);

	fact("queue=%px", queue);
	hlist_add_head(&queue->hashed, &bucket);
	unhash(queue);
	unhash(queue);
	sink++;
}

DEEP static u32 owner_rate(struct queue *queue)
{
	return queue->owner->limits.rate + 1;
}

DEEP static u32 rate_of(union target *target)
{
	return owner_rate(target->queue) + 1;
}

/* With slub_debug=FZPU a freed object is filled with 0x6b. */
static void freed_poison(struct port *port)
{
	union target *target = &port->device->cells[1].target;

	target->queue = new_queue(port);
	fact("queue=%px", target->queue);
	list_del(&target->queue->link);
	kfree(target->queue);
	sink += rate_of(target);
}

/* Without it, what the next user wrote is there. */
static void freed_reused(struct port *port)
{
	union target *target = &port->device->cells[1].target;
	struct queue *queue = new_queue(port);
	u64 *samples;
	unsigned int i;

	target->queue = queue;
	list_del(&queue->link);
	kfree(queue);
	samples = kmalloc(sizeof(*queue), GFP_KERNEL);
	for (i = 0; i < sizeof(*queue) / sizeof(u64); i++)
		samples[i] = 0x700000000ULL + 1000 + i;
	fact("queue=%px reused_by=%px", queue, samples);
	sink += rate_of(target);
}

/* Or the allocator's own pointer, which is in the middle of a free object, encoded. */
DEEP static u64 next_ticket(struct owner *owner)
{
	return owner->next->tickets[2] + 1;
}

struct lease {
	u64 number[4];
	struct lease *next;
	u64 times[3];
};

DEEP static u64 lease_time(struct lease *lease)
{
	return lease->next->times[1] + 1;
}

static void freed_list(struct port *port)
{
	struct lease *lease = kzalloc(sizeof(*lease), GFP_KERNEL);

	fact("lease=%px", lease);
	kfree(lease);
	sink += lease_time(lease);
}

static void random_next(struct port *port)
{
	struct owner *owner = new_owner("random");

	owner->next = (struct owner *)0x8f3c51e2a947d060;
	sink += next_ticket(owner);
}

static void text_pointer(struct port *port)
{
	static const char path[] = "/var/lib/orders/shard-07/";
	struct owner *owner = new_owner("text");
	char *start = (char *)owner + offsetof(struct owner, next) - 16;
	size_t i;

	for (i = 0; i < 24; i++)
		start[i] = path[i];
	fact("owner=%px", owner);
	sink += next_ticket(owner);
}

static void flip(struct port *port, unsigned int bit)
{
	struct owner *owner = new_owner("flipped");

	owner->next = new_owner("target");
	fact("owner=%px intended=%px bit=%u", owner, owner->next, bit);
	owner->next = (struct owner *)((unsigned long)owner->next ^ (1UL << bit));
	sink += next_ticket(owner);
}

static void flip_low(struct port *port)
{
	flip(port, 40);
}

static void flip_high(struct port *port)
{
	flip(port, 55);
}

struct request {
	u32 length;
	u32 flags;
};

DEEP static u32 request_length(struct port *port)
{
	return ((const struct request __force *)port->request)->length + 1;
}

/* What SMAP is for. */
static void user_pointer(struct port *port)
{
	fact("user=%px", port->request);
	sink += request_length(port);
}

DEEP static u64 ring_total(struct queue *queue)
{
	return queue->ring[2].packets + 1;
}

static void freed_vmalloc(struct port *port)
{
	struct counters *ring = vzalloc(3 * PAGE_SIZE);

	fact("ring=%px size=%lu", ring, 3 * PAGE_SIZE);
	port->queue.ring = ring;
	vfree(ring);
	vm_unmap_aliases();
	sink += ring_total(&port->queue);
}

static const struct owner fixed_owner = { .name = "fixed", .limits = { .rate = 5 } };

DEEP static void raise_rate(struct port *port, u32 rate)
{
	port->queue.owner->limits.rate = rate;
}

static void write_constant(struct port *port)
{
	fact("constant=%px", &fixed_owner);
	port->queue.owner = (struct owner *)&fixed_owner;
	raise_rate(port, 7);
	sink++;
}

const struct kind value_kinds[] = {
	{ "listpoison", list_poison },
	{ "hlistpoison", hlist_poison },
	{ "poison6b", freed_poison },
	{ "uaf", freed_reused },
	{ "uaflist", freed_list },
	{ "random", random_next },
	{ "ascii", text_pointer },
	{ "bitflip", flip_low },
	{ "bitflip55", flip_high },
	{ "userptr", user_pointer },
	{ "vmfreed", freed_vmalloc },
	{ "rowrite", write_constant },
	{}
};
