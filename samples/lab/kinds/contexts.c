// SPDX-License-Identifier: GPL-2.0
/* The same NULL read in every context the kernel runs in. */
#include <linux/delay.h>
#include <linux/irq_work.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/rcupdate.h>
#include <linux/timer.h>
#include <linux/workqueue.h>

#include "kinds.h"

DEEP static u32 flush_queue(struct port *port)
{
	return port->peer->queue.depth + 1;
}

static void in_process(struct port *port)
{
	port->peer = NULL;
	sink += flush_queue(port);
}

static void flush_work_item(struct work_struct *work)
{
	sink += flush_queue(container_of(work, struct port, work));
}

static void in_work(struct port *port)
{
	port->peer = NULL;
	INIT_WORK(&port->work, flush_work_item);
	fact("work=%px", &port->work);
	schedule_work(&port->work);
	msleep(5000);
}

static void flush_on_time(struct timer_list *timer)
{
	sink += flush_queue(from_timer((struct port *)NULL, timer, timer));
}

static void in_timer(struct port *port)
{
	port->peer = NULL;
	timer_setup(&port->timer, flush_on_time, 0);
	fact("timer=%px", &port->timer);
	mod_timer(&port->timer, jiffies + HZ / 20);
	msleep(5000);
}

static void flush_in_interrupt(struct irq_work *work)
{
	sink += flush_queue(container_of(work, struct port, irq_work));
}

static void in_interrupt_work(struct port *port)
{
	port->peer = NULL;
	init_irq_work(&port->irq_work, flush_in_interrupt);
	fact("irq_work=%px", &port->irq_work);
	irq_work_queue(&port->irq_work);
	msleep(5000);
}

static void flush_after_grace(struct rcu_head *head)
{
	sink += flush_queue(container_of(head, struct port, rcu));
}

static void in_rcu(struct port *port)
{
	port->peer = NULL;
	fact("rcu_head=%px", &port->rcu);
	call_rcu(&port->rcu, flush_after_grace);
	msleep(20000);
}

static int flush_in_thread(void *data)
{
	sink += flush_queue(data);
	return 0;
}

static void in_thread(struct port *port)
{
	port->peer = NULL;
	kthread_run(flush_in_thread, port, "kinds-thread");
	msleep(5000);
}

/* The timer's object is freed and in use again when it fires. */
static void in_freed_timer(struct port *port)
{
	struct port *other = kzalloc(sizeof(*other), GFP_KERNEL);
	u64 *words;
	size_t i;

	timer_setup(&other->timer, flush_on_time, 0);
	mod_timer(&other->timer, jiffies + HZ / 5);
	fact("timer=%px freed=%px", &other->timer, other);
	kfree(other);
	words = kmalloc(sizeof(*other), GFP_KERNEL);
	for (i = offsetof(struct port, timer) / 8 + 2; i < sizeof(*other) / 8; i++)
		words[i] = 0x3131313131313131;
	fact("reused_by=%px", words);
	msleep(5000);
}

const struct kind context_kinds[] = {
	{ "container", in_process },
	{ "work", in_work },
	{ "timer", in_timer },
	{ "irqwork", in_interrupt_work },
	{ "rcu", in_rcu },
	{ "thread", in_thread },
	{ "timerfreed", in_freed_timer },
	{}
};
