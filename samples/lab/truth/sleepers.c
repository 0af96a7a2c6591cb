/* One child for each way to sleep in the kernel; the parent then says so and sleeps, too. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/if_ether.h>
#include <linux/netlink.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <pty.h>
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
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char buffer[70000];
static unsigned short port = 7100;

static void fill(int fd)
{
	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (write(fd, buffer, sizeof(buffer)) > 0)
		;
	fcntl(fd, F_SETFL, 0);
}

static struct sockaddr_in local(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port++) };

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

static int bound(int type)
{
	struct sockaddr_in address = local();
	int fd = socket(AF_INET, type, 0);

	if (bind(fd, (void *)&address, sizeof(address)))
		err(1, "bind");
	return fd;
}

static int listening(void)
{
	int fd = bound(SOCK_STREAM);

	listen(fd, 5);
	return fd;
}

static int tcp_pair(int other)
{
	struct sockaddr_in address = local();
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
	int server;

	bind(listener, (void *)&address, sizeof(address));
	listen(listener, 5);
	if (connect(client, (void *)&address, sizeof(address)))
		err(1, "connect");
	server = accept(listener, NULL, NULL);
	return other ? client : server;
}

static int unix_pair(int type)
{
	int pair[2];

	socketpair(AF_UNIX, type, 0, pair);
	return pair[0];
}

static void open_pipe(int ends[2]) { if (pipe(ends)) err(1, "pipe"); }
static void pipe_read(void) { int e[2]; open_pipe(e); read(e[0], buffer, 100); }
static void pipe_readv(void)
{
	int e[2];
	struct iovec parts[2] = { { buffer, 10 }, { buffer + 10, 20 } };

	open_pipe(e);
	readv(e[0], parts, 2);
}
static void pipe_write(void) { int e[2]; open_pipe(e); fill(e[1]); write(e[1], buffer, 5000); }
static void poll_one(void)
{
	int e[2];
	struct pollfd wanted;

	open_pipe(e);
	wanted = (struct pollfd){ e[0], POLLIN, 0 };
	poll(&wanted, 1, -1);
}
static void poll_until(void)
{
	struct pollfd wanted = { bound(SOCK_DGRAM), POLLIN, 0 };
	struct timespec end = { 900, 5 };

	ppoll(&wanted, 1, &end, NULL);
}
static void select_one(void)
{
	int fd = bound(SOCK_DGRAM);
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	select(fd + 1, &set, NULL, NULL, NULL);
}
static void pselect_until(void)
{
	int fd = unix_pair(SOCK_STREAM);
	struct timespec end = { 1000, 0 };
	sigset_t none;
	fd_set set;

	sigemptyset(&none);
	FD_ZERO(&set);
	FD_SET(fd, &set);
	pselect(fd + 1, &set, NULL, NULL, &end, &none);
}
static void epoll(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int fd = epoll_create1(0);

	epoll_ctl(fd, EPOLL_CTL_ADD, bound(SOCK_DGRAM), &event);
	epoll_pwait(fd, &event, 1, 800000, NULL);
}
static void futex(void)
{
	static int word;
	struct timespec end = { 5000, 0 };

	syscall(SYS_futex, &word, FUTEX_WAIT, 0, &end, NULL, 0);
}
static void futex_pi(void)
{
	int *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (fork() == 0) {
		*word = getpid();
		pause();
	}
	usleep(100000);
	syscall(SYS_futex, word, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
}
static void futex_bitset(void)
{
	static int word;

	syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0x55);
}
static void nap(void) { struct timespec t = { 4000, 1 }; nanosleep(&t, &t); }
static void nap_until(void)
{
	struct timespec end = { 2000000000, 0 };

	clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &end, NULL);
}
static void accept_tcp(void) { accept(listening(), NULL, NULL); }
static void accept_unix(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	bind(fd, (void *)&name, sizeof(sa_family_t));
	listen(fd, 2);
	accept4(fd, NULL, NULL, SOCK_CLOEXEC);
}
static void recv_udp(void) { recv(bound(SOCK_DGRAM), buffer, 1234, 0); }
static void recvmsg_udp(void)
{
	struct iovec part = { buffer, 44 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	recvmsg(bound(SOCK_DGRAM), &message, 0);
}
static void recvmmsg_udp(void)
{
	struct iovec part = { buffer, 55 };
	struct mmsghdr messages[2] = { { .msg_hdr = { .msg_iov = &part, .msg_iovlen = 1 } } };

	recvmmsg(bound(SOCK_DGRAM), messages, 2, 0, NULL);
}
static void recv_tcp(void) { recv(tcp_pair(0), buffer, 4321, 0); }
static void peek_tcp(void) { recv(tcp_pair(1), buffer, 99, MSG_WAITALL); }
static void read_tcp(void) { read(tcp_pair(0), buffer, 100); }
static void send_tcp(void) { int fd = tcp_pair(1); fill(fd); send(fd, buffer, 60000, 0); }
static void connect_unix(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "/tmp/sleepers" };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	bind(fd, (void *)&name, sizeof(name));
	listen(fd, 0);
	for (;;)
		connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&name, sizeof(name));
}
static void recv_unix(void) { recv(unix_pair(SOCK_STREAM), buffer, 77, 0); }
static void recv_unix_datagram(void) { recv(unix_pair(SOCK_DGRAM), buffer, 77, 0); }
static void recv_unix_packets(void) { recv(unix_pair(SOCK_SEQPACKET), buffer, 78, 0); }
static void send_unix(void) { int fd = unix_pair(SOCK_STREAM); fill(fd); send(fd, buffer, 900, 0); }
static void send_unix_datagram(void)
{
	int fd = unix_pair(SOCK_DGRAM);

	for (;;)
		send(fd, buffer, 500, 0);
}
static void recv_raw(void) { recv(socket(AF_INET, SOCK_RAW, 253), buffer, 100, 0); }
static void recv_packet(void)
{
	recv(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_LOOPBACK)), buffer, 100, 0);
}
static void recv_netlink(void)
{
	recv(socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT), buffer, 100, 0);
}
static void wait_child(void) { if (fork() == 0) pause(); wait4(-1, NULL, 0, NULL); }
static void wait_id(void)
{
	siginfo_t info;
	pid_t child = fork();

	if (child == 0)
		pause();
	waitid(P_PID, child, &info, WEXITED);
}
static void suspend(void) { sigset_t none; sigemptyset(&none); sigsuspend(&none); }
static void sigwait_timed(void)
{
	struct timespec end = { 3000, 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigtimedwait(&set, NULL, &end);
}
static void lock_file(void)
{
	int mine = open("/tmp/lock1", O_RDWR | O_CREAT, 0600), other = open("/tmp/lock1", O_RDWR);

	flock(other, LOCK_EX);
	flock(mine, LOCK_EX);
}
static void lock_range(void)
{
	struct flock range = { .l_type = F_WRLCK, .l_start = 5, .l_len = 10 };
	int fd = open("/tmp/lock2", O_RDWR | O_CREAT, 0600);

	if (fork() == 0) {
		fcntl(fd, F_SETLK, &range);
		pause();
	}
	usleep(200000);
	fcntl(fd, F_SETLKW, &range);
}
static void message_receive(void)
{
	struct msgbuf *message = (void *)buffer;

	msgrcv(msgget(IPC_PRIVATE, 0600), message, 64, 5, 0);
}
static void message_send(void)
{
	struct msgbuf *message = (void *)buffer;
	int id = msgget(IPC_PRIVATE, 0600);

	message->mtype = 1;
	for (;;)
		msgsnd(id, message, 4000, 0);
}
static void semaphore(void)
{
	struct sembuf operation = { 0, -1, 0 };

	semop(semget(IPC_PRIVATE, 1, 0600), &operation, 1);
}
static void queue_receive(void)
{
	struct mq_attr shape = { .mq_maxmsg = 2, .mq_msgsize = 100 };
	mqd_t queue = mq_open("/sleepers", O_RDWR | O_CREAT, 0600, &shape);

	mq_receive(queue, buffer, 200, NULL);
}
static void inotify(void)
{
	int fd = inotify_init();

	inotify_add_watch(fd, "/root", IN_CREATE);
	read(fd, buffer, 1000);
}
static void event_read(void) { read(eventfd(0, 0), buffer, 8); }
static void event_write(void)
{
	unsigned long much = 0xfffffffffffffffe;
	int fd = eventfd(0, 0);

	write(fd, &much, 8);
	write(fd, &much, 8);
}
static void timer_read(void)
{
	struct itimerspec setting = { .it_value = { 6000, 0 } };
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);

	timerfd_settime(fd, 0, &setting, NULL);
	read(fd, buffer, 8);
}
static void signal_read(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	read(signalfd(-1, &set, 0), buffer, 500);
}
static void fifo_open(void) { mkfifo("/tmp/fifo", 0600); open("/tmp/fifo", O_RDONLY); }
static void log_read(void)
{
	int fd = open("/dev/kmsg", O_RDONLY);

	lseek(fd, 0, SEEK_END);
	for (;;)
		read(fd, buffer, 3000);
}
static void splice_in(void)
{
	int from[2], to[2];

	open_pipe(from);
	open_pipe(to);
	splice(from[0], NULL, to[1], NULL, 4096, 0);
}
static void splice_socket(void)
{
	int to[2];

	open_pipe(to);
	splice(tcp_pair(0), NULL, to[1], NULL, 4096, 0);
}
static void tee_in(void)
{
	int from[2], to[2];

	open_pipe(from);
	open_pipe(to);
	tee(from[0], to[1], 333, 0);
}
static void send_file(void)
{
	int file = open("/bin/busybox", O_RDONLY), e[2];

	open_pipe(e);
	for (;;)
		sendfile(e[1], file, NULL, 300000);
}
static void fork_shared(void) { if (vfork() == 0) { pause(); _exit(0); } }
static void terminal(void)
{
	int master, slave;

	if (openpty(&master, &slave, NULL, NULL, NULL))
		err(1, "openpty");
	read(slave, buffer, 10);
}
static void terminal_write(void)
{
	int master, slave;

	openpty(&master, &slave, NULL, NULL, NULL);
	for (;;)
		write(slave, buffer, 10000);
}
static void pausing(void) { pause(); }

#include "sleepers_more.h"

static const struct {
	const char *name;
	void (*sleep)(void);
} kinds[] = {
#define KIND(function) { #function, function }
	KIND(pipe_read), KIND(pipe_readv), KIND(pipe_write), KIND(poll_one), KIND(poll_until),
	KIND(select_one), KIND(pselect_until), KIND(epoll), KIND(futex), KIND(futex_pi),
	KIND(futex_bitset), KIND(nap), KIND(nap_until), KIND(accept_tcp), KIND(accept_unix),
	KIND(recv_udp), KIND(recvmsg_udp), KIND(recvmmsg_udp), KIND(recv_tcp), KIND(peek_tcp),
	KIND(read_tcp), KIND(send_tcp), KIND(connect_unix), KIND(recv_unix), KIND(recv_unix_datagram),
	KIND(recv_unix_packets), KIND(send_unix), KIND(send_unix_datagram), KIND(recv_raw),
	KIND(recv_packet), KIND(recv_netlink), KIND(wait_child), KIND(wait_id), KIND(suspend),
	KIND(sigwait_timed), KIND(lock_file), KIND(lock_range), KIND(message_receive),
	KIND(message_send), KIND(semaphore), KIND(queue_receive), KIND(inotify), KIND(event_read),
	KIND(event_write), KIND(timer_read), KIND(signal_read), KIND(fifo_open), KIND(log_read),
	KIND(splice_in), KIND(splice_socket), KIND(tee_in), KIND(send_file), KIND(fork_shared),
	KIND(terminal), KIND(terminal_write), KIND(pausing),
	KIND(poll_many), KIND(epoll_nested), KIND(futex_vector), KIND(futex_requeue_pi),
	KIND(recv_udp6), KIND(accept_tcp6), KIND(recv_raw6), KIND(error_queue), KIND(recv_routes),
	KIND(queue_send), KIND(semaphores_timed), KIND(traced), KIND(stopped), KIND(splice_out),
	KIND(vmsplice_out), KIND(writev_unix), KIND(fifo_open_write), KIND(master_read),
	KIND(lock_description), KIND(lease_break), KIND(page_fault), KIND(fault_read),
	KIND(asynchronous), KIND(pid_poll), KIND(write_mutex), KIND(napping_again),
};

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	for (unsigned int n = 0; n < sizeof(kinds) / sizeof(*kinds); n++) {
		port = 7100 + 4 * n;
		if (fork() == 0) {
			prctl(PR_SET_NAME, kinds[n].name);
			kinds[n].sleep();
			warn("lab: sleeper %s woke", kinds[n].name);
			_exit(1);
		}
	}
	pause();
	return 1;
}
