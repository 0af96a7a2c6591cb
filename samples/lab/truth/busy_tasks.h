/* Work with processes, threads, memory, time and what makes them wait for each other. */

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

static void *maps_and_faults(void *unused)
{
	for (;;) {
		char *area = mmap(NULL, 100000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		memset(area, 1, 100000);
		munmap(area, 100000);
	}
	return unused;
}

/* Three threads wait for the lock of one address space. */
static void threads(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, maps_and_faults, NULL);
	pthread_create(&thread, NULL, maps_and_faults, NULL);
	maps_and_faults(NULL);
}

static void exec(void)
{
	for (;;) {
		if (fork() == 0)
			execl("/bin/busybox", "true", NULL);
		wait(NULL);
	}
}

static void vforks(void)
{
	for (;;) {
		siginfo_t info;
		pid_t child = vfork();

		if (child == 0) {
			sched_yield();
			_exit(0);
		}
		waitid(P_PID, child, &info, WEXITED);
	}
}

static void signals(void)
{
	pid_t other = getpid();
	sigset_t set;
	siginfo_t info;
	pid_t child;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	child = fork();
	if (child)
		other = child;
	for (;;) {
		kill(other, SIGUSR1);
		sigwaitinfo(&set, &info);
	}
}

static void traced(void)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		for (;;)
			getppid();
	}
	for (;;) {
		waitpid(child, &status, 0);
		ptrace(PTRACE_PEEKUSER, child, (void *)0, NULL);
		ptrace(PTRACE_SYSCALL, child, NULL, NULL);
	}
}

static void futexes(void)
{
	int *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (fork() == 0)
		for (;;) {
			syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
			syscall(SYS_futex, word + 1, FUTEX_WAIT_BITSET, 0, NULL, NULL, 5);
		}
	for (;;) {
		struct timespec end = { 0, 900000 };

		syscall(SYS_futex, word, FUTEX_WAIT, 0, &end, NULL, 0);
		syscall(SYS_futex, word + 1, FUTEX_REQUEUE, 1, 1, word, 0);
	}
}

static void pi_futexes(void)
{
	pthread_mutexattr_t kind;
	pthread_mutex_t *lock =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	pthread_mutexattr_init(&kind);
	pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setprotocol(&kind, PTHREAD_PRIO_INHERIT);
	pthread_mutex_init(lock, &kind);
	fork();
	for (;;) {
		pthread_mutex_lock(lock);
		usleep(20);
		pthread_mutex_unlock(lock);
	}
}

static void messages(void)
{
	struct msgbuf *message = (void *)buffer;
	int id = msgget(IPC_PRIVATE, 0600);

	if (fork() == 0)
		for (;;)
			msgrcv(id, message, 9000, 0, 0);
	for (;;) {
		message->mtype = 1;
		msgsnd(id, message, 7000, 0);
	}
}

static void queues(void)
{
	struct mq_attr shape = { .mq_maxmsg = 2, .mq_msgsize = 100 };
	mqd_t queue = mq_open("/busy", O_RDWR | O_CREAT, 0600, &shape);

	if (fork() == 0)
		for (;;)
			mq_receive(queue, buffer, 200, NULL);
	for (;;)
		mq_send(queue, buffer, 70, 1);
}

static void semaphores(void)
{
	struct sembuf up = { 0, 1, 0 }, down = { 0, -1, 0 };
	int id = semget(IPC_PRIVATE, 2, 0600);

	if (fork() == 0)
		for (;;) {
			semop(id, &down, 1);
			sched_yield();
		}
	for (;;) {
		semop(id, &up, 1);
		usleep(30);
	}
}

static void shared_memory(void)
{
	for (;;) {
		int id = shmget(IPC_PRIVATE, 50000, 0600);
		char *area = shmat(id, NULL, 0);

		memset(area, 1, 50000);
		shmctl(id, IPC_RMID, NULL);
		shmdt(area);
	}
}

static void events(void)
{
	unsigned long one = 1;
	int there = eventfd(0, 0), back = eventfd(0, 0);

	if (fork() == 0)
		for (;;) {
			read(there, &one, 8);
			write(back, &one, 8);
		}
	for (;;) {
		write(there, &one, 8);
		read(back, &one, 8);
	}
}

static void timers(void)
{
	struct itimerspec often = { { 0, 500000 }, { 0, 500000 } };
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);

	timerfd_settime(fd, 0, &often, NULL);
	for (;;)
		read(fd, buffer, 8);
}

static void naps(void)
{
	for (;;) {
		struct timespec t = { 0, 100000 };

		nanosleep(&t, NULL);
		clock_nanosleep(CLOCK_BOOTTIME, 0, &t, NULL);
	}
}

static void feed(int ends[2])
{
	pipe(ends);
	if (fork() == 0)
		for (;;) {
			write(ends[1], buffer, 1);
			usleep(100);
		}
}

static void polls(void)
{
	int ends[2];
	struct timespec end = { 0, 70000 };

	feed(ends);
	for (;;) {
		struct pollfd wanted[2] = { { ends[0], POLLIN, 0 }, { 0, POLLIN, 0 } };

		poll(wanted, 2, 5);
		read(ends[0], buffer, 100);
		ppoll(wanted, 1, &end, NULL);
	}
}

static void selects(void)
{
	int ends[2];

	feed(ends);
	for (;;) {
		fd_set set;

		FD_ZERO(&set);
		FD_SET(ends[0], &set);
		select(ends[0] + 1, &set, NULL, NULL, NULL);
		read(ends[0], buffer, 100);
	}
}

static void epolls(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	int ends[2], inner = epoll_create1(0), outer = epoll_create1(0);

	feed(ends);
	epoll_ctl(inner, EPOLL_CTL_ADD, ends[0], &event);
	epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event);
	for (;;) {
		epoll_wait(outer, &event, 1, -1);
		read(ends[0], buffer, 100);
		epoll_ctl(inner, EPOLL_CTL_MOD, ends[0], &event);
	}
}

static void migrate(void)
{
	for (int n = 0;; n++) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(n % 4, &set);
		sched_setaffinity(0, sizeof(set), &set);
		setpriority(PRIO_PROCESS, 0, n % 5);
	}
}

static void barriers(void)
{
	for (;;) {
		syscall(SYS_membarrier, 1, 0, 0);
		sync();
	}
}

static void namespaces(void)
{
	for (;;) {
		if (fork() == 0) {
			unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC);
			_exit(0);
		}
		wait(NULL);
	}
}

static void mappings(void)
{
	for (;;) {
		char *area = mmap(NULL, 200000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		char *moved = mremap(area, 200000, 300000, MREMAP_MAYMOVE);

		memset(moved, 3, 60000);
		mlock(moved, 30000);
		mprotect(moved + 4096, 4096, PROT_NONE);
		mincore(moved, 100000, (void *)buffer);
		munlock(moved, 30000);
		munmap(moved, 300000);
		sbrk(8192);
		sbrk(-8192);
	}
}

static void advice(void)
{
	char *area = mmap(NULL, 1 << 22, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (;;) {
		madvise(area, 1 << 22, MADV_HUGEPAGE);
		memset(area, 1, 1 << 20);
		madvise(area, 1 << 19, MADV_DONTNEED);
		madvise(area + (1 << 19), 1 << 19, MADV_FREE);
		if (fork() == 0) {
			memset(area, 2, 50000);
			_exit(0);
		}
		wait(NULL);
	}
}

static void limits(void)
{
	struct rlimit limit;
	struct rusage usage;

	for (;;) {
		getrlimit(RLIMIT_NOFILE, &limit);
		setrlimit(RLIMIT_NOFILE, &limit);
		getrusage(RUSAGE_SELF, &usage);
		dup2(0, 90);
		close(90);
		prctl(PR_SET_NAME, "limits");
		syscall(SYS_setpgid, 0, 0);
	}
}
