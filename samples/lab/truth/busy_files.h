/* Work with files: tmpfs, ext4 on a loop device, /proc, /sys, pipes, terminals, locks. */

static void prepare_files(void)
{
	mkdir("/tmp/shared", 0700);
	mkdir("/tmp/mount", 0700);
	mkfifo("/tmp/pipe", 0600);
}

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
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096);
		rename("/tmp/busy", "/tmp/busier");
		close(fd);
		unlink("/tmp/busier");
	}
}

/* Two of these share a folder, and wait for each other's locks. */
static void one_folder(void)
{
	for (int n = 0;; n = (n + 1) % 20) {
		char name[40], other[40];

		sprintf(name, "/disk/shared/%d", n);
		sprintf(other, "/disk/shared/%d", (n + 7) % 20);
		close(open(name, O_RDWR | O_CREAT, 0600));
		rename(name, other);
		link(other, name);
		unlink(other);
	}
}

static void folders(void)
{
	static char entries[3000];

	for (;;) {
		int fd = open("/proc", O_RDONLY | O_DIRECTORY);

		while (syscall(SYS_getdents64, fd, entries, sizeof(entries)) > 0)
			;
		close(fd);
		mkdir("/tmp/shared/x", 0700);
		fd = open("/tmp/shared", O_RDONLY | O_DIRECTORY);
		syscall(SYS_getdents64, fd, entries, sizeof(entries));
		close(fd);
		rmdir("/tmp/shared/x");
	}
}

static void names(void)
{
	struct statfs facts;
	struct stat info;

	for (;;) {
		symlink("/tmp/shared/name", "/tmp/shared/link");
		readlink("/tmp/shared/link", buffer, 100);
		close(open("/tmp/shared/name", O_RDWR | O_CREAT, 0600));
		chmod("/tmp/shared/link", 0640);
		setxattr("/tmp/shared/name", "trusted.some", "value", 5, 0);
		getxattr("/tmp/shared/name", "trusted.some", buffer, 50);
		listxattr("/tmp/shared/name", buffer, 50);
		truncate("/tmp/shared/link", 333);
		utimensat(AT_FDCWD, "/tmp/shared/name", NULL, 0);
		access("/tmp/shared/link", W_OK);
		stat("/tmp/shared/link", &info);
		statfs("/tmp", &facts);
		unlink("/tmp/shared/link");
		unlink("/tmp/shared/name");
	}
}

static void read_all(const char *path)
{
	int fd = open(path, O_RDONLY);

	for (int n = 0; n < 20 && read(fd, buffer, 4000) > 0; n++)
		;
	close(fd);
}

static void proc(void)
{
	static const char *const paths[] = {
		"/proc/self/status", "/proc/self/maps", "/proc/self/smaps", "/proc/1/stat", "/proc/stat",
		"/proc/meminfo", "/proc/interrupts", "/proc/net/tcp", "/proc/net/udp", "/proc/net/unix",
		"/proc/net/route", "/proc/mounts", "/proc/slabinfo", "/proc/locks", "/proc/self/pagemap",
		"/proc/1/environ", "/proc/self/mountinfo", "/proc/vmallocinfo", "/proc/net/dev",
		"/proc/sys/kernel/hostname", "/proc/1/cmdline", "/proc/kallsyms", "/proc/net/nf_conntrack",
	};

	for (unsigned int n = 0;; n = (n + 1) % (sizeof(paths) / sizeof(*paths)))
		read_all(paths[n]);
}

static void sys(void)
{
	for (;;) {
		int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_WRONLY);

		write(fd, "madvise", 7);
		close(fd);
		read_all("/sys/class/net/lo/statistics/rx_bytes");
		read_all("/sys/kernel/uevent_seqnum");
		read_all("/sys/block/loop0/stat");
		fd = open("/proc/sys/kernel/printk", O_WRONLY);
		write(fd, "8\n", 2);
		close(fd);
	}
}

static void disk(void)
{
	for (int n = 0;; n++) {
		char name[40];
		int fd;

		sprintf(name, "/disk/file%d", n % 30);
		fd = open(name, O_RDWR | O_CREAT, 0600);
		pwrite(fd, buffer, 30000, n % 11 * 4000);
		read(fd, buffer, 20000);
		if (n % 5 == 0)
			fdatasync(fd);
		if (n % 7 == 0)
			ftruncate(fd, 1000);
		close(fd);
		if (n % 3 == 0)
			unlink(name);
	}
}

static void disk_sync(void)
{
	for (;;) {
		int fd = open("/disk/synced", O_RDWR | O_CREAT | O_SYNC, 0600);

		pwrite(fd, buffer, 9000, 0);
		fsync(fd);
		syncfs(fd);
		close(fd);
		unlink("/disk/synced");
	}
}

static void direct(void)
{
	static char page[8192] __attribute__((aligned(4096)));
	int fd = open("/disk/direct", O_RDWR | O_CREAT | O_DIRECT, 0600);
	aio_context_t context = 0;
	struct io_event done;
	struct iocb order = {
		.aio_lio_opcode = IOCB_CMD_PWRITE,
		.aio_fildes = fd,
		.aio_buf = (unsigned long)page,
		.aio_nbytes = sizeof(page),
	}, *orders[] = { &order };

	syscall(SYS_io_setup, 4, &context);
	for (;;) {
		pwrite(fd, page, sizeof(page), 4096);
		pread(fd, page, sizeof(page), 0);
		syscall(SYS_io_submit, context, 1, orders);
		syscall(SYS_io_getevents, context, 1, 1, &done, NULL);
	}
}

static void disk_pages(void)
{
	int fd = open("/disk/mapped", O_RDWR | O_CREAT, 0600);

	ftruncate(fd, 400000);
	for (;;) {
		char *area = mmap(NULL, 400000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		for (int at = 0; at < 400000; at += 9000)
			area[at]++;
		msync(area, 400000, MS_SYNC);
		munmap(area, 400000);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		readahead(fd, 0, 100000);
	}
}

static void mounts(void)
{
	for (;;) {
		mount("some", "/tmp/mount", "tmpfs", 0, "size=100k");
		close(open("/tmp/mount/file", O_RDWR | O_CREAT, 0600));
		mount(NULL, "/tmp/mount", NULL, MS_REMOUNT | MS_RDONLY, NULL);
		umount2("/tmp/mount", MNT_DETACH);
	}
}

static void watched(void)
{
	int fd = inotify_init();

	inotify_add_watch(fd, "/tmp/shared", IN_ALL_EVENTS);
	for (;;)
		read(fd, buffer, 2000);
}

static void range_locks(void)
{
	struct flock range = { .l_start = 5, .l_len = 10 };
	int fd = open("/tmp/range", O_RDWR | O_CREAT, 0600);

	fork();
	for (;;) {
		range.l_type = F_WRLCK;
		fcntl(fd, F_SETLKW, &range);
		sched_yield();
		range.l_type = F_UNLCK;
		fcntl(fd, F_SETLK, &range);
	}
}

static void file_locks(void)
{
	int fd;

	fork();
	fd = open("/tmp/flock", O_RDWR | O_CREAT, 0600);
	for (;;) {
		flock(fd, LOCK_EX);
		usleep(50);
		flock(fd, LOCK_UN);
	}
}

static void leases(void)
{
	int fd = open("/tmp/lease", O_RDWR | O_CREAT, 0600);

	signal(SIGIO, SIG_IGN);
	if (fork() == 0)
		for (;;)
			close(open("/tmp/lease", O_WRONLY));
	for (;;) {
		fcntl(fd, F_SETLEASE, F_RDLCK);
		usleep(300);
		fcntl(fd, F_SETLEASE, F_UNLCK);
	}
}

static void pipes(void)
{
	int there[2], back[2];

	pipe(there);
	pipe(back);
	if (fork() == 0)
		for (;;) {
			read(there[0], buffer, 100);
			write(back[1], buffer, 1);
		}
	for (;;) {
		struct iovec parts[2] = { { buffer, 10 }, { buffer + 20, 20 } };

		writev(there[1], parts, 2);
		readv(back[0], parts, 2);
	}
}

static void pipe_writers(void)
{
	int ends[2];

	pipe(ends);
	fcntl(ends[1], F_SETPIPE_SZ, 8192);
	for (int n = 0; n < 2; n++)
		if (fork() == 0)
			for (;;)
				write(ends[1], buffer, 20000);
	for (;;)
		read(ends[0], buffer, 3000);
}

static void splices(void)
{
	int from[2], to[2];
	struct iovec part = { buffer, 9000 };

	pipe(from);
	pipe(to);
	if (fork() == 0)
		for (;;)
			vmsplice(from[1], &part, 1, 0);
	if (fork() == 0)
		for (;;)
			read(to[0], buffer, 7000);
	for (;;) {
		splice(from[0], NULL, to[1], NULL, 5000, 0);
		tee(from[0], to[1], 3000, 0);
	}
}

static void send_files(void)
{
	int file = open("/bin/busybox", O_RDONLY), ends[2];
	int copy = open("/tmp/copy", O_RDWR | O_CREAT, 0600);

	pipe(ends);
	if (fork() == 0)
		for (;;)
			read(ends[0], buffer, sizeof(buffer));
	for (;;) {
		off_t start = 0;
		loff_t in = 0, out = 0;

		sendfile(ends[1], file, &start, 300000);
		copy_file_range(file, &in, copy, &out, 200000, 0);
	}
}

static void fifo(void)
{
	if (fork() == 0)
		for (;;) {
			int fd = open("/tmp/pipe", O_WRONLY);

			write(fd, buffer, 10);
			close(fd);
		}
	for (;;) {
		int fd = open("/tmp/pipe", O_RDONLY);

		read(fd, buffer, 100);
		close(fd);
	}
}

static void terminals(void)
{
	int master, slave;

	openpty(&master, &slave, NULL, NULL, NULL);
	if (fork() == 0)
		for (;;)
			read(slave, buffer, 100);
	if (fork() == 0)
		for (;;)
			read(master, buffer, 1000);
	for (;;) {
		struct winsize size = { 25, 80, 0, 0 };

		write(master, "some line\n", 10);
		write(slave, "some answer\n", 12);
		ioctl(slave, TIOCSWINSZ, &size);
		tcdrain(slave);
	}
}
