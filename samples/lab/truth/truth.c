// SPDX-License-Identifier: GPL-2.0
/* Crashes on request, each at the end of a long and ordinary path through the kernel.
 *
 * Writing "WORD FD" to /proc/truth arms one of them; FD is a descriptor of the writer. What makes
 * the crash is always planted here, at the innermost end; the frames around it are the kernel's.
 */
#include <linux/file.h>
#include <linux/filter.h>
#include <linux/hrtimer.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/netfilter_ipv4.h>
#include <linux/pipe_fs_i.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/timer.h>
#include <linux/udp.h>
#include <linux/version.h>
#include <linux/workqueue.h>
#include <net/ip.h>
#include <net/sock.h>

#define NOT_CANONICAL ((void *)0xdead000000000100)
#define HOOKED_PORT 7777

static bool hook_armed;
static struct hrtimer clock_timer;
static struct timer_list soft_timer;
static struct work_struct work;
static struct rcu_head rcu;
static int *nowhere;

/* Two levels, so that a function of the module hands on what it was called with. */
static noinline int touch(const void *object, unsigned int length, int weight)
{
	return READ_ONCE(*(nowhere + weight)) + (object != NULL) + length;
}

static noinline int blame(void *object, unsigned int length)
{
	int value = touch(object, length + 1, 3);

	pr_info("truth: %p %d\n", object, value);
	return value;
}

static unsigned int truth_hook(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	if (hook_armed && ip_hdr(skb)->protocol == IPPROTO_UDP &&
	    ((struct udphdr *)(skb_network_header(skb) + ip_hdrlen(skb)))->dest == htons(HOOKED_PORT))
		return blame(skb, skb->len) ? NF_DROP : NF_ACCEPT;
	return NF_ACCEPT;
}

static const struct nf_hook_ops ops = {
	.hook = truth_hook,
	.pf = NFPROTO_IPV4,
	.hooknum = NF_INET_LOCAL_IN,
	.priority = NF_IP_PRI_FILTER,
};

static void truth_ready(struct sock *sk)
{
	blame(sk, sk->sk_rcvbuf);
}

static enum hrtimer_restart truth_clock(struct hrtimer *timer)
{
	blame(timer, 7);
	return HRTIMER_NORESTART;
}

static void truth_soft(struct timer_list *timer)
{
	blame(timer, 8);
}

static void truth_work(struct work_struct *item)
{
	blame(item, 9);
}

static void truth_rcu(struct rcu_head *head)
{
	blame(head, 10);
}

static int truth_thread(void *data)
{
	return blame(data, 11);
}

static int truth_show(struct seq_file *seq, void *v)
{
	seq_printf(seq, "%p\n", v);
	BUG_ON(seq->size > 0);
	return 0;
}

static int truth_open(struct inode *inode, struct file *file)
{
	return single_open(file, truth_show, inode);
}

static int spoil_socket(const char *word, unsigned int fd)
{
	int error = 0;
	struct socket *socket = sockfd_lookup(fd, &error);
	struct sk_filter *filter;

	if (!socket)
		return error;
	filter = rcu_dereference_raw(socket->sk->sk_filter);
	if (!strcmp(word, "ready"))
		socket->sk->sk_data_ready = truth_ready;
	else if (filter)
		filter->prog = NOT_CANONICAL;
	sockfd_put(socket);
	return 0;
}

static int spoil_pipe(unsigned int fd)
{
	struct file *file = fget(fd);

	if (!file)
		return -EBADF;
	((struct pipe_inode_info *)file->private_data)->bufs = NOT_CANONICAL;
	fput(file);
	return 0;
}

static int arm(const char *word, unsigned int fd)
{
	if (!strcmp(word, "hook"))
		hook_armed = true;
	else if (!strcmp(word, "ready") || !strcmp(word, "filter"))
		return spoil_socket(word, fd);
	else if (!strcmp(word, "pipe"))
		return spoil_pipe(fd);
	else if (!strcmp(word, "clock"))
		hrtimer_start(&clock_timer, ms_to_ktime(100), HRTIMER_MODE_REL_HARD);
	else if (!strcmp(word, "soft"))
		mod_timer(&soft_timer, jiffies + HZ / 10);
	else if (!strcmp(word, "work"))
		schedule_work(&work);
	else if (!strcmp(word, "rcu"))
		call_rcu(&rcu, truth_rcu);
	else if (!strcmp(word, "thread"))
		return PTR_ERR_OR_ZERO(kthread_run(truth_thread, &work, "truth"));
	else
		return -EINVAL;
	return 0;
}

static ssize_t truth_write(struct file *file, const char __user *buffer, size_t size, loff_t *at)
{
	char line[32] = "", word[16];
	unsigned int fd = 0;
	int error;

	if (size >= sizeof(line) || copy_from_user(line, buffer, size))
		return -EINVAL;
	if (sscanf(line, "%15s %u", word, &fd) < 1)
		return -EINVAL;
	error = arm(word, fd);
	return error ? error : size;
}

static const struct proc_ops proc = {
	.proc_open = truth_open,
	.proc_read = seq_read,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
	.proc_write = truth_write,
};

static int __init truth_init(void)
{
	INIT_WORK(&work, truth_work);
	timer_setup(&soft_timer, truth_soft, 0);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
	hrtimer_setup(&clock_timer, truth_clock, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
#else
	hrtimer_init(&clock_timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	clock_timer.function = truth_clock;
#endif
	proc_create("truth", 0600, NULL, &proc);
	return nf_register_net_hook(&init_net, &ops);
}
module_init(truth_init);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("crashes at the end of ordinary paths");
