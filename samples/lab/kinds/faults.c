// SPDX-License-Identifier: GPL-2.0
/* NULL in every place where a pointer can be: members, arrays, unions, the kernel's own structs. */
#include <linux/dcache.h>
#include <linux/err.h>
#include <linux/ethtool.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/string.h>

#include "kinds.h"

static DEFINE_PER_CPU(struct queue *, active_queue);

DEEP static u32 read_rate(struct port *port)
{
	return port->peer->queue.owner->limits.rate + 1;
}

static void null_read(struct port *port)
{
	port->peer->queue.owner = NULL;
	sink += read_rate(port);
}

DEEP static void set_bytes(struct queue *queue, u64 bytes)
{
	queue->owner->limits.bytes = bytes;
}

DEEP static void configure(struct port *port, u64 bytes)
{
	set_bytes(&port->queue, bytes * 2);
	sink++;
}

static void null_write(struct port *port)
{
	port->queue.owner = NULL;
	configure(port, 4096);
}

DEEP static u64 ring_bytes(struct queue *queue, unsigned int slot)
{
	return queue->ring[slot].bytes + queue->depth;
}

static void null_index(struct port *port)
{
	port->queue.ring = NULL;
	fact("slot=%u", port->queue.depth);
	sink += ring_bytes(&port->queue, port->queue.depth);
}

DEEP static u32 cell_depth(struct device_state *device, unsigned int index)
{
	return device->cells[index].target.port->queue.depth + 1;
}

static void null_union(struct port *port)
{
	port->device->cells[3].kind = 1;
	fact("index=3");
	sink += cell_depth(port->device, 3);
}

DEEP static u64 limit_of(const struct limits *limits)
{
	return limits->bytes - 1;
}

DEEP static u64 pass_limits(struct port *port)
{
	return limit_of(&port->queue.owner->limits) + 1;
}

static void null_offset(struct port *port)
{
	port->queue.owner = NULL;
	sink += pass_limits(port);
}

DEEP static u32 peer_depth(struct port *port)
{
	return port->peer->queue.depth + 1;
}

static void error_pointer(struct port *port)
{
	port->peer = ERR_PTR(-ENODEV);
	sink += peer_depth(port);
}

DEEP static struct device_state *peer_device(struct port *port)
{
	return port->peer->device + 1;
}

/* So near the struct's start that the address stays at the end of memory. */
static void error_pointer_low(struct port *port)
{
	port->peer = ERR_PTR(-ENODEV);
	sink += (unsigned long)peer_device(port);
}

DEEP static u32 first_depth(struct port *port)
{
	struct port *first = container_of(port->first, struct port, link);

	return first->queue.depth + 1;
}

static void container_of_null(struct port *port)
{
	sink += first_depth(port);
}

DEEP static void take_reference(struct port *port)
{
	atomic_inc(&port->peer->queue.users);
}

static void atomic_increment(struct port *port)
{
	port->peer = NULL;
	take_reference(port);
	sink++;
}

DEEP static u32 active_depth(void)
{
	return this_cpu_read(active_queue)->depth + 1;
}

static void percpu_null(struct port *port)
{
	sink += active_depth();
}

DEEP static void count_packet(struct port *port)
{
	struct counters *counters = this_cpu_ptr(port->device->stats);

	counters->packets++;
}

static void percpu_bad(struct port *port)
{
	port->device->stats = (struct counters __percpu *)0x2a55aa55aa55aa50;
	count_packet(port);
	sink++;
}

DEEP static void copy_limits(struct limits *to, struct port *port)
{
	memcpy(to, &port->peer->queue.owner->limits, port->queue.depth * 64);
}

static void copy_null(struct port *port)
{
	struct limits *to = kmalloc(512, GFP_KERNEL);

	port->peer->queue.owner = NULL;
	copy_limits(to, port);
	sink += to->rate;
}

DEEP static size_t label_size(struct port *port)
{
	return strlen(port->label) + port->queue.depth;
}

static void string_null(struct port *port)
{
	sink += label_size(port);
}

DEEP static const void *link_getter(struct port *port)
{
	return (const void *)port->netdev->ethtool_ops->get_link + 1;
}

static void netdev_null(struct port *port)
{
	port->netdev->ethtool_ops = NULL;
	sink += (unsigned long)link_getter(port);
}

DEEP static unsigned long block_size(struct port *port)
{
	return port->inode->i_sb->s_blocksize + 1;
}

static void inode_null(struct port *port)
{
	port->inode = kzalloc(sizeof(*port->inode), GFP_KERNEL);
	sink += block_size(port);
}

DEEP static int interface_of(struct sk_buff *skb)
{
	return skb->dev->ifindex + skb->len;
}

static void skb_null(struct port *port)
{
	port->skb = alloc_skb(200, GFP_KERNEL);
	skb_put(port->skb, 60);
	fact("skb=%px", port->skb);
	sink += interface_of(port->skb);
}

DEEP static u32 name_length(struct file *file)
{
	return file->f_path.dentry->d_name.len + 1;
}

static void file_null(struct port *port)
{
	struct file *file = kzalloc(sizeof(*file), GFP_KERNEL);

	fact("file=%px", file);
	sink += name_length(file);
}

DEEP static unsigned long program_start(struct task_struct *task)
{
	return task->mm->start_code + 1;
}

static int idle_thread(void *unused)
{
	while (!kthread_should_stop())
		schedule_timeout_interruptible(HZ);
	return 0;
}

static void task_null(struct port *port)
{
	struct task_struct *task = kthread_run(idle_thread, NULL, "kinds-idle");

	fact("task=%px task_pid=%d", task, task->pid);
	sink += program_start(task);
}

DEEP static u32 divide(struct queue *queue)
{
	return queue->totals[1].bytes / queue->totals[1].packets;
}

static void divide_by_zero(struct port *port)
{
	port->queue.totals[1].bytes = 70000;
	sink += divide(&port->queue);
}

const struct kind fault_kinds[] = {
	{ "null", null_read },
	{ "nullw", null_write },
	{ "nullidx", null_index },
	{ "nullunion", null_union },
	{ "nulloff", null_offset },
	{ "errptr", error_pointer },
	{ "errptrlow", error_pointer_low },
	{ "containerof", container_of_null },
	{ "atomic", atomic_increment },
	{ "percpu", percpu_null },
	{ "percpubad", percpu_bad },
	{ "repmovs", copy_null },
	{ "strlen", string_null },
	{ "netdev", netdev_null },
	{ "inode", inode_null },
	{ "skb", skb_null },
	{ "file", file_null },
	{ "task", task_null },
	{ "div0", divide_by_zero },
	{}
};
