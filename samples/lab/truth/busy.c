/* Three processes that never rest, for dumps at a random instant: system calls, network, memory. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char buffer[20000];

static void files(void)
{
	for (int round = 0;; round++) {
		int fd = open("/tmp/busy", O_RDWR | O_CREAT, 0600);
		struct stat info;

		write(fd, buffer, 5000);
		pwrite(fd, buffer, 100, 9000);
		lseek(fd, 0, SEEK_SET);
		read(fd, buffer, 3000);
		fstat(fd, &info);
		ftruncate(fd, round % 7000);
		rename("/tmp/busy", "/tmp/busier");
		close(fd);
		unlink("/tmp/busier");
		fd = open("/proc/self/status", O_RDONLY);
		read(fd, buffer, 4000);
		close(fd);
		stat("/proc/self/maps", &info);
	}
}

static void network(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(7900) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
	int poll = epoll_create1(0), pair[2];
	struct epoll_event event = { .events = EPOLLIN };

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	bind(listener, (void *)&address, sizeof(address));
	bind(udp, (void *)&address, sizeof(address));
	listen(listener, 5);
	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	epoll_ctl(poll, EPOLL_CTL_ADD, udp, &event);
	for (;;) {
		int client = socket(AF_INET, SOCK_STREAM, 0), server;

		connect(client, (void *)&address, sizeof(address));
		server = accept(listener, NULL, NULL);
		for (int n = 0; n < 5; n++) {
			send(client, buffer, 9000, MSG_DONTWAIT);
			recv(server, buffer, 9000, MSG_DONTWAIT);
			sendto(udp, buffer, 500 * n, 0, (void *)&address, sizeof(address));
			epoll_wait(poll, &event, 1, 0);
			recv(udp, buffer, sizeof(buffer), MSG_DONTWAIT);
			send(pair[0], buffer, 700, 0);
			recv(pair[1], buffer, 700, 0);
		}
		close(client);
		close(server);
	}
}

static void memory(void)
{
	for (;;) {
		char *area = mmap(NULL, 300000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		int ends[2], status;

		memset(area, 1, 100000);
		mprotect(area + 8192, 8192, PROT_READ);
		pipe(ends);
		if (fork() == 0) {
			area[0] = 2;
			write(ends[1], area, 100);
			_exit(0);
		}
		read(ends[0], buffer, 50);
		close(ends[0]);
		close(ends[1]);
		wait(&status);
		munmap(area, 300000);
	}
}

int main(void)
{
	void (*jobs[])(void) = { files, network, memory };

	signal(SIGPIPE, SIG_IGN);
	for (unsigned int n = 0; n < 3; n++)
		if (fork() == 0)
			jobs[n]();
	pause();
	return 1;
}
