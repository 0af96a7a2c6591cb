/*
 * Traffic and verdicts that make conntrack entries clash.
 *
 *   storm SECONDS NETNS-FILE SOURCE DESTINATION
 *
 * In the current network namespace one thread per CPU serves the NFQUEUE of that number and accepts
 * every packet, one message per verdict, on the next CPU: the entry a clash frees there came from the
 * CPU that filled the queue. In the namespace NETNS-FILE as many threads send bursts of datagrams; the
 * datagrams of a burst share one tuple that was not used for a while. Nothing is confirmed before the
 * first verdict, so each datagram of a burst has a conntrack entry of its own, and all but one lose.
 *
 * Written against the kernel's user-space headers alone; link with -static.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	BURST = 16,		/* datagrams of one tuple */
	PAUSE_US = 300,		/* between the bursts of a sender */
	QUEUE_LENGTH = 1024,
	FIRST_PORT = 20000,	/* sender N sends to FIRST_PORT + N */
	FIRST_SOURCE_PORT = 1024,
	MAX_CPUS = 16,
};

static const char payload[] = "crashkit: one of sixteen";
static const char *netns_file, *source, *destination;
static int cpus;
static atomic_ulong verdicts, bursts;

static void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "storm: ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, ": %s\n", strerror(errno));
	va_end(arguments);
	exit(1);
}

static void settle(const char *name, int number, int cpu)
{
	cpu_set_t set;
	char title[16];

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("cannot run on CPU %d", cpu);
	snprintf(title, sizeof(title), "%s%d", name, number);
	prctl(PR_SET_NAME, title);
}

/* A netlink message for nfnetlink_queue: header, nfgenmsg, attributes. */
struct message {
	struct nlmsghdr header;
	struct nfgenmsg queue;
	char attributes[128];
};

static void begin(struct message *message, int type, int queue)
{
	memset(message, 0, sizeof(*message));
	message->header.nlmsg_len = NLMSG_LENGTH(sizeof(message->queue));
	message->header.nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | type;
	message->header.nlmsg_flags = NLM_F_REQUEST;
	message->queue.version = NFNETLINK_V0;
	message->queue.res_id = htons(queue);
}

static void attach(struct message *message, int type, const void *value, size_t size)
{
	struct nlattr *attribute = (void *)((char *)message + message->header.nlmsg_len);

	attribute->nla_type = type;
	attribute->nla_len = NLA_HDRLEN + size;
	memcpy((char *)attribute + NLA_HDRLEN, value, size);
	message->header.nlmsg_len += NLA_ALIGN(attribute->nla_len);
}

static void post(int netlink, const struct message *message)
{
	while (send(netlink, message, message->header.nlmsg_len, 0) < 0)
		if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
			die("cannot send to nfnetlink_queue");
}

static int open_queue(int number)
{
	struct nfqnl_msg_config_cmd bind_command = { .command = NFQNL_CFG_CMD_BIND, .pf = htons(AF_INET) };
	struct nfqnl_msg_config_params copy = { .copy_mode = NFQNL_COPY_META };
	__be32 length = htonl(QUEUE_LENGTH);
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	int room = 8 << 20, yes = 1;
	struct message message;

	if (netlink < 0 || bind(netlink, (void *)&address, sizeof(address)))
		die("cannot open a netfilter socket");
	setsockopt(netlink, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	setsockopt(netlink, SOL_NETLINK, NETLINK_NO_ENOBUFS, &yes, sizeof(yes));
	begin(&message, NFQNL_MSG_CONFIG, number);
	attach(&message, NFQA_CFG_CMD, &bind_command, sizeof(bind_command));
	attach(&message, NFQA_CFG_PARAMS, &copy, sizeof(copy));
	attach(&message, NFQA_CFG_QUEUE_MAXLEN, &length, sizeof(length));
	post(netlink, &message);
	return netlink;
}

static void accept_packet(int netlink, int number, const struct nlmsghdr *header)
{
	const char *end = (const char *)header + header->nlmsg_len;
	const char *here = (const char *)NLMSG_DATA(header) + NLMSG_ALIGN(sizeof(struct nfgenmsg));
	struct nfqnl_msg_verdict_hdr verdict = { .verdict = htonl(NF_ACCEPT) };
	struct message message;

	while (here + NLA_HDRLEN <= end) {
		const struct nlattr *attribute = (const void *)here;

		if (attribute->nla_len < NLA_HDRLEN)
			return;
		if ((attribute->nla_type & NLA_TYPE_MASK) == NFQA_PACKET_HDR)
			break;
		here += NLA_ALIGN(attribute->nla_len);
	}
	if (here + NLA_HDRLEN > end)
		return;
	/* packet_id is the first member; it may be unaligned */
	memcpy(&verdict.id, here + NLA_HDRLEN, sizeof(verdict.id));
	begin(&message, NFQNL_MSG_VERDICT, number);
	attach(&message, NFQA_VERDICT_HDR, &verdict, sizeof(verdict));
	post(netlink, &message);
	atomic_fetch_add_explicit(&verdicts, 1, memory_order_relaxed);
}

static void *serve(void *argument)
{
	static __thread char buffer[65536] __attribute__((aligned(NLMSG_ALIGNTO)));
	int number = (long)argument;
	int netlink = open_queue(number);

	settle("Verdict", number, (number + 1) % cpus);
	for (;;) {
		ssize_t size = recv(netlink, buffer, sizeof(buffer), 0);
		struct nlmsghdr *header = (void *)buffer;

		for (; NLMSG_OK(header, size); header = NLMSG_NEXT(header, size))
			if (header->nlmsg_type == (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
				accept_packet(netlink, number, header);
	}
	return NULL;
}

static void *send_bursts(void *argument)
{
	int number = (long)argument;
	struct sockaddr_in from = { .sin_family = AF_INET }, to = { .sin_family = AF_INET };
	struct { struct udphdr udp; char text[sizeof(payload)]; } datagram = { 0 };
	struct iovec part = { &datagram, sizeof(datagram) };
	struct mmsghdr burst[BURST] = { 0 };
	int raw, namespace = open(netns_file, O_RDONLY);
	unsigned int port = number * 9973;

	if (namespace < 0 || setns(namespace, CLONE_NEWNET))
		die("cannot enter %s", netns_file);
	raw = socket(AF_INET, SOCK_RAW, IPPROTO_UDP);
	inet_pton(AF_INET, source, &from.sin_addr);
	inet_pton(AF_INET, destination, &to.sin_addr);
	if (raw < 0 || bind(raw, (void *)&from, sizeof(from)))
		die("cannot send from %s", source);
	settle("Sender", number, number % cpus);
	for (int i = 0; i < BURST; i++) {
		burst[i].msg_hdr.msg_name = &to;
		burst[i].msg_hdr.msg_namelen = sizeof(to);
		burst[i].msg_hdr.msg_iov = &part;
		burst[i].msg_hdr.msg_iovlen = 1;
	}
	/* A UDP checksum of zero says that there is none. */
	datagram.udp.uh_dport = htons(FIRST_PORT + number);
	datagram.udp.uh_ulen = htons(sizeof(datagram));
	memcpy(datagram.text, payload, sizeof(payload));
	for (;;) {
		datagram.udp.uh_sport = htons(FIRST_SOURCE_PORT + port++ % (65536 - FIRST_SOURCE_PORT));
		sendmmsg(raw, burst, BURST, 0);
		atomic_fetch_add_explicit(&bursts, 1, memory_order_relaxed);
		usleep(PAUSE_US);
	}
	return NULL;
}

/* Without a socket on the port every datagram would be answered by an ICMP error. */
static void open_sink(int number)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(FIRST_PORT + number) };
	int sink = socket(AF_INET, SOCK_DGRAM, 0), room = 1;

	setsockopt(sink, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	if (sink < 0 || bind(sink, (void *)&address, sizeof(address)))
		die("cannot bind port %d", FIRST_PORT + number);
}

static void start(void *(*function)(void *), int number)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, function, (void *)(long)number);
	if (errno)
		die("cannot start a thread");
}

int main(int argc, char **argv)
{
	int seconds = argc == 5 ? atoi(argv[1]) : 0;

	if (seconds <= 0) {
		fprintf(stderr, "usage: storm SECONDS NETNS-FILE SOURCE DESTINATION\n");
		return 2;
	}
	netns_file = argv[2];
	source = argv[3];
	destination = argv[4];
	cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpus = cpus > MAX_CPUS ? MAX_CPUS : cpus;
	for (int i = 0; i < cpus; i++) {
		open_sink(i);
		start(serve, i);
	}
	sleep(1);
	for (int i = 0; i < cpus; i++)
		start(send_bursts, i);
	for (int second = 1; second <= seconds; second++) {
		sleep(1);
		if (second % 10 == 0)
			printf("storm: %d s, %lu bursts, %lu verdicts\n", second,
			       atomic_load(&bursts), atomic_load(&verdicts));
		fflush(stdout);
	}
	return 0;
}
