/* Walk one path to its crash (see truth.c): trigger WORD. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static char payload[3000];

static struct sockaddr_in local(unsigned short port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static void arm(const char *word, int fd)
{
	int control = open("/proc/truth", O_WRONLY);

	if (control < 0 || dprintf(control, "%s %d", word, fd) < 0)
		err(1, "/proc/truth");
	close(control);
}

static int udp_server(unsigned short port)
{
	struct sockaddr_in address = local(port);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (bind(fd, (void *)&address, sizeof(address)))
		err(1, "bind");
	return fd;
}

static int udp_client(unsigned short port)
{
	struct sockaddr_in address = local(port);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (connect(fd, (void *)&address, sizeof(address)))
		err(1, "connect");
	return fd;
}

static void hook(void)
{
	struct sockaddr_in address = local(7777);

	udp_server(7777);
	arm("hook", 0);
	sendto(socket(AF_INET, SOCK_DGRAM, 0), payload, 100, 0, (void *)&address, sizeof(address));
}

static void filter(void)
{
	struct sock_filter code[] = { { BPF_RET | BPF_K, 0, 0, 65535 } };
	struct sock_fprog program = { 1, code };
	int server = udp_server(7778);

	if (setsockopt(server, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)))
		err(1, "filter");
	arm("filter", server);
	send(udp_client(7778), payload, 200, 0);
}

static void tcp(void)
{
	struct sockaddr_in address = local(7779);
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
	int server;

	if (bind(listener, (void *)&address, sizeof(address)) || listen(listener, 5) ||
	    connect(client, (void *)&address, sizeof(address)))
		err(1, "tcp");
	server = accept(listener, NULL, NULL);
	send(client, payload, 10, 0);
	recv(server, payload, 10, 0);
	arm("ready", server);
	send(client, payload, 300, 0);
}

static void vectors(void)
{
	struct iovec parts[3] = { { payload, 11 }, { payload + 11, 22 }, { payload + 33, 33 } };
	int server = udp_server(7780);

	arm("ready", server);
	writev(udp_client(7780), parts, 3);
}

static void pipe_write(void)
{
	int ends[2];

	if (pipe(ends))
		err(1, "pipe");
	write(ends[1], payload, 1);
	arm("pipe", ends[1]);
	write(ends[1], payload, 77);
}

static void busily(const char *word)
{
	int server = udp_server(7781), client = udp_client(7781);

	arm(word, 0);
	for (;;) {
		send(client, payload, sizeof(payload), 0);
		recv(server, payload, sizeof(payload), MSG_DONTWAIT);
	}
}

int main(int count, char **words)
{
	const char *word = count > 1 ? words[1] : "";

	if (!strcmp(word, "hook"))
		hook();
	else if (!strcmp(word, "filter"))
		filter();
	else if (!strcmp(word, "tcp"))
		tcp();
	else if (!strcmp(word, "writev"))
		vectors();
	else if (!strcmp(word, "gpf"))
		pipe_write();
	else if (!strcmp(word, "proc"))
		read(open("/proc/truth", O_RDONLY), payload, 500);
	else if (!strcmp(word, "timer"))
		busily("clock");
	else if (!strcmp(word, "softirq"))
		busily("soft");
	else
		arm(word, 0);
	sleep(20);
	return 1;
}
