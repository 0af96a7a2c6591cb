/* Packets of the lab's guest "packets": known bytes, left where they stop.
 *
 *   packets hold PORT                        take TCP and UDP, read nothing
 *   packets fill ADDRESS PORT BYTES          one TCP flow; write BYTES bytes, read nothing
 *   packets send ADDRESS PORT BYTES COUNT    COUNT datagrams of BYTES bytes
 *   packets first-fragment SOURCE ADDRESS PORT   the first fragment of a datagram; the rest never
 *
 * The bytes are "crashkit " and then letters from a to z, over and over. ADDRESS may be IPv6.
 */
#include <arpa/inet.h>
#include <err.h>
#include <netdb.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static char data[1 << 20];

static void fill_data(void)
{
	memcpy(data, "crashkit ", 9);
	for (size_t i = 9; i < sizeof(data); i++)
		data[i] = 'a' + (i - 9) % 26;
}

static int connected(int type, const char *host, const char *port)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(atoi(port)) };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
	int family = strchr(host, ':') ? AF_INET6 : AF_INET;
	int fd = socket(family, type, 0);

	if (inet_pton(family, host, family == AF_INET6 ? (void *)&six.sin6_addr : (void *)&four.sin_addr) != 1)
		errx(1, "%s is no address", host);
	if (fd < 0 || connect(fd, family == AF_INET6 ? (void *)&six : (void *)&four,
			      family == AF_INET6 ? sizeof(six) : sizeof(four)))
		err(1, "connect %s", host);
	return fd;
}

static int hold(const char *port)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
	int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0), small = 4096;

	setsockopt(tcp, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (bind(tcp, (void *)&any, sizeof(any)) || bind(udp, (void *)&any, sizeof(any)) || listen(tcp, 16))
		err(1, "bind port %s", port);
	while (accept(tcp, NULL, NULL) >= 0)
		;
	return 1;
}

static int fill(const char *host, const char *port, int bytes)
{
	int fd = connected(SOCK_STREAM, host, port);

	if (send(fd, data, bytes, MSG_DONTWAIT) < 0)
		warn("send");
	pause();
	return 0;
}

static int send_some(const char *host, const char *port, int bytes, int count)
{
	int fd = connected(SOCK_DGRAM, host, port);

	for (int i = 0; i < count; i++)
		if (send(fd, data, bytes, 0) != bytes)
			warn("send");
	pause();
	return 0;
}

/* 1,024 bytes of a datagram of 2,048; the kernel fills in the IP checksum and the id. */
static int first_fragment(const char *source, const char *host, const char *port)
{
	struct { struct iphdr ip; struct udphdr udp; char data[1016]; } packet = {
		.ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP, .id = htons(0x4242),
			.frag_off = htons(0x2000), .tot_len = htons(sizeof(packet)) },
		.udp = { .source = htons(5555), .dest = htons(atoi(port)), .len = htons(2048) },
	};
	struct sockaddr_in to = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);

	packet.ip.saddr = inet_addr(source);
	packet.ip.daddr = to.sin_addr.s_addr = inet_addr(host);
	memcpy(packet.data, data, sizeof(packet.data));
	if (fd < 0 || sendto(fd, &packet, sizeof(packet), 0, (void *)&to, sizeof(to)) < 0)
		err(1, "fragment");
	return 0;
}

int main(int argc, char **argv)
{
	setlinebuf(stdout);
	fill_data();
	if (argc > 1)
		prctl(PR_SET_NAME, argv[1]);
	if (argc == 3 && !strcmp(argv[1], "hold"))
		return hold(argv[2]);
	if (argc == 5 && !strcmp(argv[1], "fill"))
		return fill(argv[2], argv[3], atoi(argv[4]));
	if (argc == 6 && !strcmp(argv[1], "send"))
		return send_some(argv[2], argv[3], atoi(argv[4]), atoi(argv[5]));
	if (argc == 5 && !strcmp(argv[1], "first-fragment"))
		return first_fragment(argv[2], argv[3], argv[4]);
	errx(2, "usage: packets hold PORT | fill ADDRESS PORT BYTES | send ADDRESS PORT BYTES COUNT |"
		" first-fragment SOURCE ADDRESS PORT");
}
