// SPDX-License-Identifier: GPL-2.0
/* What the kernel itself finds wrong: assertions, counters, stacks, copies to user space. */
#include <linux/bug.h>
#include <linux/delay.h>
#include <linux/kernel.h>
#include <linux/objtool.h>
#include <linux/panic.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "kinds.h"

DEEP static u32 enqueue(struct queue *queue, u32 added)
{
	BUG_ON(queue->depth + added > queue->owner->limits.burst);
	queue->depth += added;
	return queue->depth;
}

static void bug(struct port *port)
{
	fact("depth=%u added=40 burst=%u", port->queue.depth, port->queue.owner->limits.burst);
	sink += enqueue(&port->queue, 40);
}

DEEP static u32 account(struct queue *queue, u32 priority)
{
	WARN_ON(queue->priority != priority);
	return queue->priority;
}

static void warn_on(struct port *port)
{
	sink += account(&port->queue, 9);
}

DEEP static void complain(struct port *port)
{
	WARN(port->queue.depth == 5, "queue of %s has depth %u\n", port->device->name,
	     port->queue.depth);
}

static void warn_text(struct port *port)
{
	complain(port);
	sink++;
}

DEEP static void give_up(struct port *port)
{
	if (port->queue.depth > 4)
		panic("order table of %s is damaged: %u", port->device->name, port->queue.depth);
}

static void call_panic(struct port *port)
{
	give_up(port);
	sink++;
}

struct frame {
	u64 level;
	u64 words[30];
};

DEEP static u64 descend(struct port *port, u64 level)
{
	struct frame frame;

	if (!port)
		return level;
	memset(&frame, (int)level, sizeof(frame));
	frame.level = level;
	OPTIMIZER_HIDE_VAR(level);
	return descend(port->peer, level + 1) + frame.words[level % 30] + frame.level;
}

/* The list of peers is a ring. */
static void recurse(struct port *port)
{
	port->peer->peer = port;
	sink += descend(port, 0);
}

DEEP static u32 parse_name(const char *text, size_t size)
{
	char name[24];
	size_t i;

	for (i = 0; i < size; i++)
		name[i] = text[i];
	barrier_data(name);
	return name[0] + name[3];
}

static void stack_protector(struct port *port)
{
	sink += parse_name("a name that is far longer than what the parser has room for", 48);
}

DEEP static void rename_owner(struct owner *owner, const char *name)
{
	strcpy(owner->name, name);
}

static void fortify(struct port *port)
{
	char *name = kstrdup("a name longer than sixteen", GFP_KERNEL);

	fact("owner=%px", port->queue.owner);
	rename_owner(port->queue.owner, name);
	sink++;
}

DEEP static void lose_stack(unsigned long stack)
{
	asm volatile("mov %0, %%rsp\n\tpush %%rax" : : "r"(stack) : "memory");
}

/* Without this, objtool gives none of the module's functions unwind rules. */
STACK_FRAME_NON_STANDARD(lose_stack);

static void double_fault(struct port *port)
{
	fact("stack=%lx", 0xffffd1e000000800);
	lose_stack(0xffffd1e000000800);
	sink++;
}

DEEP static void use_device(struct device_state *device)
{
	refcount_inc(&device->users);
	sink += device->name[0];
}

static void use_after_last(struct port *port)
{
	refcount_set(&port->device->users, 0);
	fact("refcount=%px", &port->device->users);
	use_device(port->device);
	sink++;
}

static void use_too_often(struct port *port)
{
	refcount_set(&port->device->users, INT_MAX);
	fact("refcount=%px", &port->device->users);
	use_device(port->device);
	sink++;
}

DEEP static void put_device_state(struct device_state *device)
{
	if (refcount_dec_and_test(&device->users))
		sink++;
	sink += device->name[0];
}

static void drop_twice(struct port *port)
{
	fact("refcount=%px", &port->device->users);
	put_device_state(port->device);
	put_device_state(port->device);
}

DEEP static unsigned long answer(struct port *port, size_t size)
{
	return copy_to_user((void __user *)port->request, port->queue.owner, size) + 1;
}

static void answer_too_much(struct port *port)
{
	fact("owner=%px size=%zu", port->queue.owner, sizeof(struct owner) + 200);
	sink += answer(port, sizeof(struct owner) + 200);
}

DEEP static void wait_for_hardware(struct port *port)
{
	msleep(20);
	sink += port->queue.depth;
}

static void sleep_locked(struct port *port)
{
	spin_lock(&port->device->ring_lock);
	fact("lock=%px", &port->device->ring_lock);
	wait_for_hardware(port);
	spin_unlock(&port->device->ring_lock);
}

const struct kind check_kinds[] = {
	{ "bug", bug },
	{ "warn", warn_on },
	{ "warntext", warn_text },
	{ "panic", call_panic },
	{ "stackoverflow", recurse },
	{ "stackprotector", stack_protector },
	{ "fortify", fortify },
	{ "doublefault", double_fault },
	{ "refcount", use_after_last },
	{ "refcountfull", use_too_often },
	{ "refcountunder", drop_twice },
	{ "usercopy", answer_too_much },
	{ "schedatomic", sleep_locked },
	{}
};
