// SPDX-License-Identifier: GPL-2.0
/* One crash for each kind of panic: what is written to /dev/kinds says which. */
#include <linux/etherdevice.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "kinds.h"

u64 sink;
int (*plugin_handler)(struct port *port, u32 bytes);

void kinds_set_handler(int (*handler)(struct port *port, u32 bytes))
{
	plugin_handler = handler;
}
EXPORT_SYMBOL_GPL(kinds_set_handler);

static const struct kind *const tables[] = {
	fault_kinds, value_kinds,  memory_kinds,  jump_kinds,
	check_kinds, lock_kinds, context_kinds,
};

struct owner *new_owner(const char *name)
{
	struct owner *owner = kzalloc(sizeof(*owner), GFP_KERNEL | __GFP_NOFAIL);

	strscpy(owner->name, name, sizeof(owner->name));
	owner->limits.burst = 32;
	owner->limits.rate = 1000;
	owner->limits.bytes = 1 << 20;
	return owner;
}

struct queue *new_queue(struct port *port)
{
	struct queue *queue = kzalloc(sizeof(*queue), GFP_KERNEL | __GFP_NOFAIL);

	queue->owner = new_owner("tenant");
	queue->depth = 12;
	queue->priority = 3;
	list_add_tail(&queue->link, &port->device->queues);
	return queue;
}

static struct device_state *new_device(void)
{
	struct device_state *device = kzalloc(sizeof(*device), GFP_KERNEL | __GFP_NOFAIL);

	strscpy(device->name, "orders0", sizeof(device->name));
	INIT_LIST_HEAD(&device->queues);
	device->stats = alloc_percpu(struct counters);
	refcount_set(&device->users, 1);
	mutex_init(&device->config);
	mutex_init(&device->stats_lock);
	init_rwsem(&device->topology);
	sema_init(&device->slots, 1);
	spin_lock_init(&device->ring_lock);
	init_completion(&device->drained);
	return device;
}

static struct port *new_port(struct device_state *device)
{
	struct port *port = kzalloc(sizeof(*port), GFP_KERNEL | __GFP_NOFAIL);

	port->device = device;
	port->queue.owner = new_owner("self");
	port->queue.depth = 5;
	port->worker = current;
	port->netdev = alloc_etherdev(0);
	INIT_LIST_HEAD(&port->link);
	return port;
}

DEEP static void dispatch(struct port *port, const char *word)
{
	const struct kind *kind;
	size_t table;

	for (table = 0; table < ARRAY_SIZE(tables); table++)
		for (kind = tables[table]; kind->name; kind++)
			if (!strcmp(kind->name, word)) {
				fact("kind=%s pid=%d comm=%s cpu=%d", word, current->pid,
				     current->comm, raw_smp_processor_id());
				kind->trigger(port);
				return;
			}
	fact("unknown kind %s", word);
}

static ssize_t kinds_write(struct file *file, const char __user *buffer, size_t size,
			   loff_t *position)
{
	struct device_state *device = new_device();
	struct port *port = new_port(device);
	char word[24] = "";

	if (size >= sizeof(word) || copy_from_user(word, buffer, size))
		return -EINVAL;
	port->peer = new_port(device);
	port->file = file;
	port->request = buffer;
	port->request_size = size;
	fact("device=%px port=%px peer=%px", device, port, port->peer);
	dispatch(port, strim(word));
	return size;
}

static const struct file_operations kinds_files = {
	.owner = THIS_MODULE,
	.write = kinds_write,
};

static struct miscdevice kinds_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "kinds",
	.fops = &kinds_files,
};

module_misc_device(kinds_device);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("crashes of every kind, for the lab of crashkit");
