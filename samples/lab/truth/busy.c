/*
 * Some fifty processes that never rest, for dumps at a random instant. Each either works in its
 * own corner of the kernel or plays ping-pong with another, so that an instant finds many of them
 * asleep, each at another place of another path. busy_files.h, busy_network.h, busy_tasks.h.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/loop.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <mqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static char buffer[70000];
static unsigned short port = 7900;

static struct sockaddr_in local(unsigned short number)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(number) };

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static struct sockaddr_in6 local6(unsigned short number)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(number) };

	address.sin6_addr = in6addr_loopback;
	return address;
}

/* Child and parent, each with one end, pass something to and fro for ever. */
static void ping_pong(int mine, int other, size_t size)
{
	if (fork() == 0)
		for (;;) {
			read(other, buffer, sizeof(buffer));
			write(other, buffer, size);
		}
	for (;;) {
		write(mine, buffer, size);
		read(mine, buffer, sizeof(buffer));
	}
}

#include "busy_files.h"
#include "busy_network.h"
#include "busy_tasks.h"

static const struct {
	const char *name;
	void (*work)(void);
} jobs[] = {
#define JOB(function) { #function, function }
	/* files */
	JOB(files), JOB(one_folder), JOB(one_folder), JOB(folders), JOB(names), JOB(proc), JOB(sys),
	JOB(disk), JOB(disk_sync), JOB(direct), JOB(disk_pages), JOB(mounts), JOB(watched),
	JOB(range_locks), JOB(file_locks), JOB(leases), JOB(pipes), JOB(pipe_writers), JOB(splices),
	JOB(send_files), JOB(fifo), JOB(terminals),
	/* network */
	JOB(network), JOB(tcp), JOB(tcp6), JOB(tcp_bulk), JOB(tcp_shared), JOB(udp), JOB(udp6),
	JOB(udp_big), JOB(unix_stream), JOB(unix_datagram), JOB(unix_packets), JOB(unix_rights),
	JOB(raw), JOB(packet), JOB(routes), JOB(links), JOB(veth), JOB(options), JOB(filtered),
	/* tasks, memory, time */
	JOB(memory), JOB(threads), JOB(exec), JOB(vforks), JOB(signals), JOB(traced), JOB(futexes),
	JOB(pi_futexes), JOB(messages), JOB(queues), JOB(semaphores), JOB(shared_memory), JOB(events),
	JOB(timers), JOB(naps), JOB(polls), JOB(selects), JOB(epolls), JOB(migrate), JOB(barriers),
	JOB(namespaces), JOB(mappings), JOB(advice), JOB(limits),
};

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	prepare_files();
	for (unsigned int n = 0; n < sizeof(jobs) / sizeof(*jobs); n++) {
		port = 7900 + 2 * n;
		if (fork() == 0) {
			prctl(PR_SET_NAME, jobs[n].name);
			for (;;) {
				jobs[n].work();
				usleep(1000);
			}
		}
	}
	pause();
	return 1;
}
