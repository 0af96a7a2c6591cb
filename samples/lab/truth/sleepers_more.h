/* More ways to sleep; sleepers.c lists them. */

static void poll_many(void)
{
	struct pollfd wanted[40];

	for (int n = 0; n < 40; n++)
		wanted[n] = (struct pollfd){ .fd = eventfd(0, 0), .events = POLLIN };
	ppoll(wanted, 40, NULL, NULL);
}
static void epoll_nested(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int inner = epoll_create1(0), outer = epoll_create1(0);

	epoll_ctl(inner, EPOLL_CTL_ADD, eventfd(0, 0), &event);
	epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event);
	epoll_wait(outer, &event, 1, -1);
}
static void futex_vector(void)
{
	static unsigned int words[2];
	struct {
		unsigned long value, address;
		unsigned int flags, reserved;
	} waits[2] = { { 0, (unsigned long)words, 2, 0 }, { 0, (unsigned long)(words + 1), 2, 0 } };

	syscall(449, waits, 2, 0, NULL, CLOCK_MONOTONIC); /* futex_waitv */
}
static void futex_requeue_pi(void)
{
	static int words[2];

	syscall(SYS_futex, words, FUTEX_WAIT_REQUEUE_PI, 0, NULL, words + 1, 0);
}
static int bound6(int type)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(port++) };
	int fd = socket(AF_INET6, type, 0);

	address.sin6_addr = in6addr_loopback;
	bind(fd, (void *)&address, sizeof(address));
	return fd;
}
static void recv_udp6(void) { recvfrom(bound6(SOCK_DGRAM), buffer, 222, 0, NULL, NULL); }
static void accept_tcp6(void) { int fd = bound6(SOCK_STREAM); listen(fd, 3); accept(fd, NULL, NULL); }
static void recv_raw6(void) { recv(socket(AF_INET6, SOCK_RAW, 253), buffer, 100, 0); }
static void error_queue(void) { read(bound(SOCK_DGRAM), buffer, 5); }
static void recv_routes(void) { recv(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), buffer, 99, 0); }
static void queue_send(void)
{
	struct mq_attr shape = { .mq_maxmsg = 1, .mq_msgsize = 100 };
	mqd_t queue = mq_open("/full", O_RDWR | O_CREAT, 0600, &shape);

	for (;;)
		mq_send(queue, buffer, 50, 3);
}
static void semaphores_timed(void)
{
	struct sembuf operations[2] = { { 0, 1, 0 }, { 1, -1, 0 } };
	struct timespec end = { 4000, 0 };

	semtimedop(semget(IPC_PRIVATE, 2, 0600), operations, 2, &end);
}
static void traced(void)
{
	pid_t child = fork();

	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
	}
	waitpid(child, NULL, WUNTRACED);
	pause();
}
static void stopped(void)
{
	if (fork() == 0)
		raise(SIGSTOP);
	pause();
}
static void splice_out(void)
{
	int from[2], to[2];

	open_pipe(from);
	open_pipe(to);
	fill(from[1]);
	fill(to[1]);
	splice(from[0], NULL, to[1], NULL, 4096, 0);
}
static void vmsplice_out(void)
{
	int e[2];
	struct iovec part = { buffer, sizeof(buffer) };

	open_pipe(e);
	for (;;)
		vmsplice(e[1], &part, 1, 0);
}
static void writev_unix(void)
{
	int fd = unix_pair(SOCK_STREAM);
	struct iovec parts[2] = { { buffer, 900 }, { buffer, 900 } };

	fill(fd);
	writev(fd, parts, 2);
}
static void fifo_open_write(void) { mkfifo("/tmp/fifo2", 0600); open("/tmp/fifo2", O_WRONLY); }
static void master_read(void)
{
	int master, slave;

	openpty(&master, &slave, NULL, NULL, NULL);
	read(master, buffer, 10);
}
static void lock_description(void)
{
	struct flock range = { .l_type = F_WRLCK };
	int mine = open("/tmp/lock3", O_RDWR | O_CREAT, 0600), other = open("/tmp/lock3", O_RDWR);

	fcntl(other, F_OFD_SETLKW, &range);
	fcntl(mine, F_OFD_SETLKW, &range);
}
static void lease_break(void)
{
	int fd = open("/tmp/lease", O_RDWR | O_CREAT, 0600);

	signal(SIGIO, SIG_IGN);
	close(fd);
	fcntl(open("/tmp/lease", O_RDONLY), F_SETLEASE, F_RDLCK);
	truncate("/tmp/lease", 5);
}
static void page_fault(void)
{
	char *area = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { { (unsigned long)area, 4096 }, UFFDIO_REGISTER_MODE_MISSING, 0 };
	int fd = syscall(SYS_userfaultfd, 0), e[2];

	ioctl(fd, UFFDIO_API, &api);
	ioctl(fd, UFFDIO_REGISTER, &range);
	open_pipe(e);
	write(e[1], buffer, 100);
	read(e[0], area + 8, 90);
}
static void fault_read(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, 0);

	ioctl(fd, UFFDIO_API, &api);
	read(fd, buffer, 100);
}
static void asynchronous(void)
{
	unsigned long context = 0;

	syscall(SYS_io_setup, 4, &context);
	syscall(SYS_io_getevents, context, 1, 1, buffer, NULL);
}
static void pid_poll(void)
{
	struct pollfd wanted = { .events = POLLIN };

	wanted.fd = syscall(SYS_pidfd_open, 1, 0);
	poll(&wanted, 1, -1);
}
static void write_mutex(void)
{
	int e[2];

	open_pipe(e);
	fill(e[1]);
	fork();
	write(e[1], buffer, 9000);
}
static void napping_again(void)
{
	struct timespec t = { 3000, 0 };
	pid_t child = fork();

	if (child == 0)
		for (;;)
			nanosleep(&t, NULL);
	usleep(50000);
	kill(child, SIGSTOP);
	usleep(50000);
	kill(child, SIGCONT); /* the child is in restart_syscall() now */
	pause();
}
