/* SPDX-License-Identifier: GPL-2.0 */
/* The objects that the crashes of kinds.ko are about, and how a crash is declared.
 *
 * The objects stand for those of any driver: structs in structs, unions, arrays, pointers to each
 * other. Every crash happens some calls deep, in a function that the compiler keeps as written.
 */
#ifndef LAB_KINDS_H
#define LAB_KINDS_H

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/irq_work.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/printk.h>
#include <linux/refcount.h>
#include <linux/rwsem.h>
#include <linux/semaphore.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

/* Not inlined, not cloned, and no knowledge of it used in its callers. */
#define DEEP __attribute__((noipa))
/* What the tests compare the report with. */
#define fact(format, ...) pr_warn("kinds: " format "\n", ##__VA_ARGS__)

#define CELLS 8

struct limits {
	u32 burst;
	u32 rate;
	u64 bytes;
};

struct counters {
	u64 packets;
	u64 bytes;
};

struct owner {
	char name[16];
	struct task_struct *task;
	struct limits limits;
	struct owner *next;
	u64 tickets[4];
};

struct queue {
	struct list_head link;
	struct hlist_node hashed;
	u32 depth;
	u8 priority;
	atomic_t users;
	struct owner *owner;
	struct counters *ring;
	struct counters totals[2];
};

struct port;

struct port_ops {
	int (*open)(struct port *port);
	int (*send)(struct port *port, u32 bytes);
	int (*close)(struct port *port);
};

union target {
	struct port *port;
	struct queue *queue;
	u64 cookie;
};

struct cell {
	u32 kind;
	u32 weight;
	union target target;
};

struct device_state {
	char name[16];
	struct list_head queues;
	struct cell cells[CELLS];
	struct counters __percpu *stats;
	refcount_t users;
	struct mutex config;
	struct mutex stats_lock;
	struct rw_semaphore topology;
	struct semaphore slots;
	spinlock_t ring_lock;
	struct completion drained;
};

struct port {
	const struct port_ops *ops;
	struct device_state *device;
	struct port *peer;
	struct queue queue;
	struct net_device *netdev;
	struct inode *inode;
	struct file *file;
	struct sk_buff *skb;
	struct task_struct *worker;
	char *label;
	struct list_head *first;
	struct list_head link;
	const char __user *request;
	size_t request_size;
	struct work_struct work;
	struct timer_list timer;
	struct irq_work irq_work;
	struct rcu_head rcu;
};

/* A way to crash: its name and what does it. */
struct kind {
	const char *name;
	void (*trigger)(struct port *port);
};

extern const struct kind fault_kinds[], value_kinds[], memory_kinds[], jump_kinds[];
extern const struct kind check_kinds[], lock_kinds[], context_kinds[];

struct queue *new_queue(struct port *port);
struct owner *new_owner(const char *name);
/* Called by kinds_plugin.ko. */
void kinds_set_handler(int (*handler)(struct port *port, u32 bytes));
extern int (*plugin_handler)(struct port *port, u32 bytes);
/* Keeps a result, so that no read is for nothing. */
extern u64 sink;

#endif
