// SPDX-License-Identifier: GPL-2.0
/* Nothing moves any more: loops, and tasks that wait for each other or for nobody. */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/irqflags.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/nmi.h>
#include <linux/perf_event.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <asm/nmi.h>

#include "kinds.h"

static struct task_struct *start(int (*body)(void *), struct port *port, const char *name, int cpu)
{
	struct task_struct *task = kthread_create(body, port, "%s", name);

	if (cpu >= 0)
		kthread_bind(task, cpu);
	fact("thread=%s thread_pid=%d thread_task=%px", name, task->pid, task);
	wake_up_process(task);
	return task;
}

static void sleep_forever(void)
{
	for (;;)
		schedule_timeout_interruptible(HZ);
}

DEEP static void poll_hardware(struct queue *queue)
{
	while (READ_ONCE(queue->depth))
		cpu_relax();
}

static void soft_lockup(struct port *port)
{
	preempt_disable();
	poll_hardware(&port->queue);
	preempt_enable();
}

static void rcu_stall(struct port *port)
{
	rcu_read_lock();
	preempt_disable();
	poll_hardware(&port->queue);
	preempt_enable();
	rcu_read_unlock();
}

static int poll_without_interrupts(void *data)
{
	struct port *port = data;

	local_irq_disable();
	poll_hardware(&port->queue);
	local_irq_enable();
	return 0;
}

static void rcu_stall_irqs_off(struct port *port)
{
	start(poll_without_interrupts, port, "kinds-deaf", 1);
	sleep_forever();
}

/* The machine has no performance counter to raise the watchdog's NMIs. The lab raises them, and the
 * handler stands in for the counter's driver: it calls what that calls. The rest is the kernel's.
 */
static perf_overflow_handler_t watchdog_overflowed;

static int on_counter(unsigned int type, struct pt_regs *regs)
{
	static struct perf_event counter;
	static struct perf_sample_data sample;

	watchdog_overflowed(&counter, &sample, regs);
	return NMI_HANDLED;
}

/* A kprobe's address may be that behind an endbr. */
static bool find_watchdog(void)
{
	struct kprobe probe = { .symbol_name = "watchdog_overflow_callback" };

	if (register_kprobe(&probe))
		return false;
	watchdog_overflowed = (void *)ALIGN_DOWN((unsigned long)probe.addr, 16);
	unregister_kprobe(&probe);
	return true;
}

static int stop_answering(void *data)
{
	struct port *port = data;

	fact("deaf_pid=%d deaf_cpu=%d", current->pid, raw_smp_processor_id());
	fact("ready for an NMI");
	local_irq_disable();
	poll_hardware(&port->queue);
	local_irq_enable();
	return 0;
}

/* QEMU's NMIs are for CPU 0. */
static void hard_lockup(struct port *port)
{
	if (!find_watchdog() || register_nmi_handler(NMI_LOCAL, on_counter, 0, "kinds")) {
		pr_warn("lab: failed: no watchdog\n");
		return;
	}
	start(stop_answering, port, "kinds-stuck", 0);
	sleep_forever();
}

/* Mutex: the owner sleeps. */
static int own_mutex(void *data)
{
	struct port *port = data;

	mutex_lock(&port->device->config);
	fact("owner_pid=%d", current->pid);
	sleep_forever();
	return 0;
}

DEEP static void change_config(struct port *port)
{
	mutex_lock(&port->device->config);
	port->queue.depth++;
	mutex_unlock(&port->device->config);
}

static void hung_mutex(struct port *port)
{
	fact("mutex=%px waiter_pid=%d", &port->device->config, current->pid);
	start(own_mutex, port, "kinds-owner", -1);
	msleep(200);
	change_config(port);
	sink++;
}

/* ABBA, and a third task that waits behind them. Each has its first lock before either goes on. */
static atomic_t first_locks;

static void sleep_until_both(void)
{
	atomic_inc(&first_locks);
	while (atomic_read(&first_locks) < 2)
		msleep(20);
}

static int config_then_stats(void *data)
{
	struct port *port = data;

	mutex_lock(&port->device->config);
	sleep_until_both();
	mutex_lock(&port->device->stats_lock);
	mutex_unlock(&port->device->stats_lock);
	mutex_unlock(&port->device->config);
	return 0;
}

static int stats_then_config(void *data)
{
	struct port *port = data;

	mutex_lock(&port->device->stats_lock);
	sleep_until_both();
	mutex_lock(&port->device->config);
	mutex_unlock(&port->device->config);
	mutex_unlock(&port->device->stats_lock);
	return 0;
}

static void abba(struct port *port)
{
	fact("config=%px stats_lock=%px bystander_pid=%d", &port->device->config,
	     &port->device->stats_lock, current->pid);
	start(config_then_stats, port, "kinds-cs", -1);
	start(stats_then_config, port, "kinds-sc", -1);
	msleep(600);
	change_config(port);
	sink++;
}

/* rwsem: a reader sleeps, a writer waits, and so do readers behind it. */
static int read_topology(void *data)
{
	struct port *port = data;

	down_read(&port->device->topology);
	fact("reader_pid=%d", current->pid);
	sleep_forever();
	return 0;
}

static int read_topology_later(void *data)
{
	struct port *port = data;

	msleep(600);
	down_read(&port->device->topology);
	up_read(&port->device->topology);
	return 0;
}

DEEP static void change_topology(struct port *port)
{
	down_write(&port->device->topology);
	port->queue.depth++;
	up_write(&port->device->topology);
}

static void hung_writer(struct port *port)
{
	fact("rwsem=%px writer_pid=%d", &port->device->topology, current->pid);
	start(read_topology, port, "kinds-reader", -1);
	start(read_topology_later, port, "kinds-late", -1);
	msleep(300);
	change_topology(port);
	sink++;
}

static int write_topology(void *data)
{
	struct port *port = data;

	down_write(&port->device->topology);
	fact("writer_pid=%d", current->pid);
	sleep_forever();
	return 0;
}

DEEP static void look_at_topology(struct port *port)
{
	down_read(&port->device->topology);
	sink += port->queue.depth;
	up_read(&port->device->topology);
}

static void hung_reader(struct port *port)
{
	fact("rwsem=%px reader_pid=%d", &port->device->topology, current->pid);
	start(write_topology, port, "kinds-writer", -1);
	msleep(300);
	look_at_topology(port);
	sink++;
}

DEEP static void drain(struct port *port)
{
	wait_for_completion(&port->device->drained);
	sink += port->queue.depth;
}

static void hung_completion(struct port *port)
{
	fact("completion=%px waiter_pid=%d", &port->device->drained, current->pid);
	drain(port);
}

DEEP static void take_slot(struct port *port)
{
	down(&port->device->slots);
	sink += port->queue.depth;
}

static void hung_semaphore(struct port *port)
{
	fact("semaphore=%px waiter_pid=%d", &port->device->slots, current->pid);
	take_slot(port);
	take_slot(port);
}

/* Spinlock: one CPU holds it and loops, others queue for it. */
static int hold_ring(void *data)
{
	struct port *port = data;

	spin_lock(&port->device->ring_lock);
	fact("holder_pid=%d holder_cpu=%d", current->pid, raw_smp_processor_id());
	poll_hardware(&port->queue);
	spin_unlock(&port->device->ring_lock);
	return 0;
}

DEEP static void fill_ring(struct port *port)
{
	spin_lock(&port->device->ring_lock);
	port->queue.totals[0].packets++;
	spin_unlock(&port->device->ring_lock);
}

static int want_ring(void *data)
{
	fill_ring(data);
	return 0;
}

static void spin_waiters(struct port *port)
{
	fact("spinlock=%px", &port->device->ring_lock);
	start(hold_ring, port, "kinds-holder", 1);
	msleep(300);
	start(want_ring, port, "kinds-wait2", 2);
	start(want_ring, port, "kinds-wait0", 0);
	sleep_forever();
}

static int lock_twice(void *data)
{
	struct port *port = data;

	spin_lock(&port->device->ring_lock);
	fill_ring(port);
	spin_unlock(&port->device->ring_lock);
	return 0;
}

static void spin_self(struct port *port)
{
	fact("spinlock=%px", &port->device->ring_lock);
	start(lock_twice, port, "kinds-twice", 1);
	sleep_forever();
}

/* Two locks in two orders, interrupts off; ended by an NMI. */
static spinlock_t other_lock;

DEEP static void lock_other(struct port *port)
{
	spin_lock(&other_lock);
	port->queue.totals[1].packets++;
	spin_unlock(&other_lock);
}

static void spin_until_both(void)
{
	if (atomic_inc_return(&first_locks) == 2)
		fact("ready for an NMI");
	while (atomic_read(&first_locks) < 2)
		cpu_relax();
}

static int ring_then_other(void *data)
{
	struct port *port = data;
	unsigned long flags;

	spin_lock_irqsave(&port->device->ring_lock, flags);
	spin_until_both();
	lock_other(port);
	spin_unlock_irqrestore(&port->device->ring_lock, flags);
	return 0;
}

static int other_then_ring(void *data)
{
	struct port *port = data;
	unsigned long flags;

	spin_lock_irqsave(&other_lock, flags);
	spin_until_both();
	fill_ring(port);
	spin_unlock_irqrestore(&other_lock, flags);
	return 0;
}

static void spin_abba(struct port *port)
{
	spin_lock_init(&other_lock);
	fact("ring_lock=%px other_lock=%px", &port->device->ring_lock, &other_lock);
	start(ring_then_other, port, "kinds-ro", 1);
	start(other_then_ring, port, "kinds-or", 2);
	sleep_forever();
}

const struct kind lock_kinds[] = {
	{ "softlockup", soft_lockup },
	{ "hardlockup", hard_lockup },
	{ "rcustall", rcu_stall },
	{ "rcuirqs", rcu_stall_irqs_off },
	{ "hungmutex", hung_mutex },
	{ "abba", abba },
	{ "hungwriter", hung_writer },
	{ "hungreader", hung_reader },
	{ "hungcompletion", hung_completion },
	{ "hungsemaphore", hung_semaphore },
	{ "spinlock", spin_waiters },
	{ "spinself", spin_self },
	{ "spinabba", spin_abba },
	{}
};
