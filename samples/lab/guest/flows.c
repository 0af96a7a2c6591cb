/* Traffic of the lab's guests.
 *
 *   flows serve PORT                      echo TCP and UDP
 *   flows talk tcp|udp ADDRESS PORT N     open N flows, send one message on each, keep them
 *   flows twins ADDRESS PORT              two VXLAN datagrams from one socket at once
 *   flows queue NUMBER hold|MILLISECONDS  listen on an nfnetlink queue; accept after that time
 *
 * Every mode ends with the guest.
 */
#include <arpa/inet.h>
#include <err.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_SOCKETS 64

static struct sockaddr_in address_of(const char *host, const char *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };

	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		errx(1, "%s is not an IPv4 address", host);
	return address;
}

static int bound_socket(int type, const char *port)
{
	struct sockaddr_in address = address_of("0.0.0.0", port);
	int fd = socket(AF_INET, type, 0);

	if (fd < 0 || bind(fd, (void *)&address, sizeof(address)))
		err(1, "bind port %s", port);
	return fd;
}

static void echo_datagram(int fd)
{
	char data[2048];
	struct sockaddr_in peer;
	socklen_t size = sizeof(peer);
	ssize_t n = recvfrom(fd, data, sizeof(data), 0, (void *)&peer, &size);

	if (n > 0)
		sendto(fd, data, n, 0, (void *)&peer, size);
}

static void echo_stream(int fd)
{
	char data[2048];
	ssize_t n = read(fd, data, sizeof(data));

	if (n > 0 && write(fd, data, n) != n)
		warn("write");
}

static int serve(const char *port)
{
	struct pollfd polls[MAX_SOCKETS] = {
		{ .fd = bound_socket(SOCK_DGRAM, port), .events = POLLIN },
		{ .fd = bound_socket(SOCK_STREAM, port), .events = POLLIN },
	};
	int count = 2;

	listen(polls[1].fd, 16);
	while (poll(polls, count, -1) > 0) {
		if (polls[0].revents)
			echo_datagram(polls[0].fd);
		for (int i = 2; i < count; i++)
			if (polls[i].revents)
				echo_stream(polls[i].fd);
		if (polls[1].revents && count < MAX_SOCKETS) {
			polls[count].events = POLLIN;
			polls[count].revents = 0;
			polls[count++].fd = accept(polls[1].fd, NULL, NULL);
		}
	}
	return 1;
}

static int talk(int type, const char *host, const char *port, int count)
{
	struct sockaddr_in address = address_of(host, port);

	for (int i = 0; i < count; i++) {
		int fd = socket(AF_INET, type, 0);

		if (fd < 0 || connect(fd, (void *)&address, sizeof(address)))
			warn("connect");
		else if (write(fd, "crashkit lab", 12) != 12)
			warn("write");
	}
	pause();
	return 0;
}

/* VXLAN: network 42, from 02:00:00:00:00:01 to :02, a TCP acknowledgement without data from
 * 192.168.7.1:443 to 192.168.7.2:40000, with time stamps. RFC 7348, 791, 9293.
 */
static const unsigned char vxlan[74] = {
	0x08, 0, 0, 0, 0, 0, 42, 0,
	2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00,
	0x45, 0, 0, 52, 0x12, 0x34, 0x40, 0, 64, 6, 0x99, 0x3c, 192, 168, 7, 1, 192, 168, 7, 2,
	0x01, 0xbb, 0x9c, 0x40, 0, 0, 0x10, 0, 0, 0, 0x20, 0, 0x80, 0x10, 0x01, 0xf5, 0xa7, 0x78, 0, 0,
	1, 1, 8, 10, 0, 0, 0x30, 0, 0, 0, 0x40, 0,
};

/* The first datagram is longer, so that a rule can tell the two apart. */
static int twins(const char *host, const char *port)
{
	struct sockaddr_in address = address_of(host, port);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char longer[sizeof(vxlan) + 4] = { 0 };

	memcpy(longer, vxlan, sizeof(vxlan));
	if (fd < 0 || connect(fd, (void *)&address, sizeof(address)))
		err(1, "connect");
	if (write(fd, longer, sizeof(longer)) < 0 || write(fd, vxlan, sizeof(vxlan)) < 0)
		err(1, "write");
	pause();
	return 0;
}

/* One nfnetlink message with one attribute. */
static void send_message(int fd, int queue, int type, int attribute, const void *data, int size)
{
	struct {
		struct nlmsghdr header;
		struct nfgenmsg family;
		struct nlattr attribute;
		char data[16];
	} message = {
		.header = { .nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | type, .nlmsg_flags = NLM_F_REQUEST },
		.family = { .version = NFNETLINK_V0, .res_id = htons(queue) },
		.attribute = { .nla_type = attribute, .nla_len = NLA_HDRLEN + size },
	};

	memcpy(message.data, data, size);
	message.header.nlmsg_len = NLMSG_ALIGN((char *)message.data - (char *)&message + size);
	if (send(fd, &message, message.header.nlmsg_len, 0) < 0)
		err(1, "nfnetlink_queue");
}

static void accept_packet(int fd, int queue, const struct nlmsghdr *header)
{
	const struct nlattr *attribute = (void *)((char *)NLMSG_DATA(header) + NLMSG_ALIGN(sizeof(struct nfgenmsg)));
	const struct nfqnl_msg_packet_hdr *packet = (void *)(attribute + 1);
	struct nfqnl_msg_verdict_hdr verdict = { .verdict = htonl(NF_ACCEPT), .id = packet->packet_id };

	if (attribute->nla_type == NFQA_PACKET_HDR)
		send_message(fd, queue, NFQNL_MSG_VERDICT, NFQA_VERDICT_HDR, &verdict, sizeof(verdict));
}

static int queue(int number, const char *when)
{
	struct nfqnl_msg_config_cmd bind_it = { .command = NFQNL_CFG_CMD_BIND, .pf = htons(AF_INET) };
	struct nfqnl_msg_config_params params = { .copy_range = htonl(64), .copy_mode = NFQNL_COPY_PACKET };
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
	char data[8192] __attribute__((aligned(8)));
	ssize_t n;

	send_message(fd, number, NFQNL_MSG_CONFIG, NFQA_CFG_CMD, &bind_it, sizeof(bind_it));
	send_message(fd, number, NFQNL_MSG_CONFIG, NFQA_CFG_PARAMS, &params, sizeof(params));
	while ((n = recv(fd, data, sizeof(data), 0)) > 0) {
		const struct nlmsghdr *header = (void *)data;

		if (header->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET) || !strcmp(when, "hold"))
			continue;
		usleep(atoi(when) * 1000);
		accept_packet(fd, number, header);
	}
	return 1;
}

int main(int argc, char **argv)
{
	setlinebuf(stdout);
	if (argc > 1)
		prctl(PR_SET_NAME, argv[1]);
	if (argc == 3 && !strcmp(argv[1], "serve"))
		return serve(argv[2]);
	if (argc == 6 && !strcmp(argv[1], "talk"))
		return talk(strcmp(argv[2], "tcp") ? SOCK_DGRAM : SOCK_STREAM, argv[3], argv[4], atoi(argv[5]));
	if (argc == 4 && !strcmp(argv[1], "twins"))
		return twins(argv[2], argv[3]);
	if (argc == 4 && !strcmp(argv[1], "queue"))
		return queue(atoi(argv[2]), argv[3]);
	errx(2, "usage: flows serve PORT | talk tcp|udp ADDRESS PORT N | twins ADDRESS PORT |"
		" queue NUMBER hold|MILLISECONDS");
}
