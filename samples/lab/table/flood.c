/* Fills a connection table.
 *
 *   flood_table send ADDRESS PORT N    one datagram to PORT from each of N sockets, then the end
 *   flood_table deaf                   ask for destroy events with notice of lost ones; read none
 */
#include <arpa/inet.h>
#include <err.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int send_all(const char *host, int port, int count)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };

	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		errx(1, "%s is not an IPv4 address", host);
	for (int i = 0; i < count; i++) {
		struct sockaddr_in own = { .sin_family = AF_INET, .sin_port = htons(20000 + i) };
		int fd = socket(AF_INET, SOCK_DGRAM, 0);

		if (fd < 0 || bind(fd, (void *)&own, sizeof(own)))
			err(1, "port %d", 20000 + i);
		if (sendto(fd, "crashkit lab", 12, 0, (void *)&address, sizeof(address)) != 12)
			warn("sendto");
		close(fd);
		if (i % 50 == 49)
			usleep(20000);
	}
	return 0;
}

static int deaf(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
	int group = NFNLGRP_CONNTRACK_DESTROY, on = 1, size = 4096;

	if (fd < 0 || bind(fd, (void *)&address, sizeof(address)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_BROADCAST_ERROR, &on, sizeof(on)) ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)))
		err(1, "netlink");
	pause();
	return 1;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "send"))
		return send_all(argv[2], atoi(argv[3]), atoi(argv[4]));
	if (argc == 2 && !strcmp(argv[1], "deaf"))
		return deaf();
	errx(2, "usage: flood_table send ADDRESS PORT N | deaf");
}
