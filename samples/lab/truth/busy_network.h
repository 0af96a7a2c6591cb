/* Work with sockets of all families, over loopback and a veth pair with netfilter's rules. */

static void connected(int family, int type, int ends[2])
{
	struct sockaddr_in address = local(port);
	struct sockaddr_in6 address6 = local6(port);
	struct sockaddr *name = family == AF_INET ? (void *)&address : (void *)&address6;
	socklen_t size = family == AF_INET ? sizeof(address) : sizeof(address6);
	int first = socket(family, type, 0), second = socket(family, type, 0);

	bind(first, name, size);
	if (type == SOCK_STREAM) {
		listen(first, 5);
		connect(second, name, size);
		ends[0] = accept(first, NULL, NULL);
		ends[1] = second;
		return;
	}
	address.sin_port = address6.sin6_port = htons(port + 1);
	bind(second, name, size);
	connect(first, name, size);
	address.sin_port = address6.sin6_port = htons(port);
	connect(second, name, size);
	ends[0] = first;
	ends[1] = second;
}

static void network(void)
{
	struct sockaddr_in address = local(port);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	bind(listener, (void *)&address, sizeof(address));
	listen(listener, 5);
	if (fork() == 0)
		for (;;) {
			int client = socket(AF_INET, SOCK_STREAM, 0);

			connect(client, (void *)&address, sizeof(address));
			send(client, buffer, 9000, 0);
			shutdown(client, SHUT_WR);
			recv(client, buffer, 100, 0);
			close(client);
		}
	for (;;) {
		int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		while (recv(server, buffer, 4000, 0) > 0)
			;
		close(server);
	}
}

static void tcp(void) { int e[2]; connected(AF_INET, SOCK_STREAM, e); ping_pong(e[0], e[1], 700); }
static void tcp6(void) { int e[2]; connected(AF_INET6, SOCK_STREAM, e); ping_pong(e[0], e[1], 70); }
static void udp(void) { int e[2]; connected(AF_INET, SOCK_DGRAM, e); ping_pong(e[0], e[1], 300); }
static void udp6(void) { int e[2]; connected(AF_INET6, SOCK_DGRAM, e); ping_pong(e[0], e[1], 40); }
static void udp_big(void)
{
	int e[2];

	connected(AF_INET, SOCK_DGRAM, e);
	ping_pong(e[0], e[1], 60000);
}

static void tcp_bulk(void)
{
	int ends[2];

	connected(AF_INET, SOCK_STREAM, ends);
	if (fork() == 0)
		for (;;)
			recv(ends[0], buffer, sizeof(buffer), MSG_WAITALL);
	for (;;)
		send(ends[1], buffer, sizeof(buffer), 0);
}

/* Several processes on one socket wait for its lock. */
static void tcp_shared(void)
{
	int ends[2], one = 1;

	connected(AF_INET, SOCK_STREAM, ends);
	setsockopt(ends[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	for (int n = 0; n < 2; n++)
		if (fork() == 0)
			for (;;)
				send(ends[1], buffer, 3000, 0);
	for (;;) {
		struct pollfd wanted = { .fd = ends[0], .events = POLLIN };

		poll(&wanted, 1, -1);
		recv(ends[0], buffer, 5000, 0);
	}
}

static void unix_pair(int type, size_t size)
{
	int ends[2];

	socketpair(AF_UNIX, type, 0, ends);
	ping_pong(ends[0], ends[1], size);
}
static void unix_stream(void) { unix_pair(SOCK_STREAM, 5000); }
static void unix_packets(void) { unix_pair(SOCK_SEQPACKET, 50); }

static void unix_datagram(void)
{
	int ends[2];

	socketpair(AF_UNIX, SOCK_DGRAM, 0, ends);
	for (int n = 0; n < 2; n++)
		if (fork() == 0)
			for (;;)
				send(ends[0], buffer, 600, 0);
	for (;;)
		recv(ends[1], buffer, 600, 0);
}

static void unix_rights(void)
{
	int ends[2];
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = { buffer, 1 };

	socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
	for (;;) {
		struct msghdr message = {
			.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
			.msg_controllen = sizeof(control),
		};

		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		*(int *)CMSG_DATA(&control.head) = ends[0];
		sendmsg(ends[0], &message, 0);
		recvmsg(ends[1], &message, 0);
		close(*(int *)CMSG_DATA(&control.head));
	}
}

static void raw(void)
{
	struct sockaddr_in address = local(0);
	int fd = socket(AF_INET, SOCK_RAW, 253);

	for (;;) {
		sendto(fd, buffer, 900, 0, (void *)&address, sizeof(address));
		recv(fd, buffer, 2000, 0);
	}
}

static void packet(void)
{
	struct sockaddr_ll address = {
		.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_halen = 6,
	};
	int fd = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP));

	address.sll_ifindex = if_nametoindex("v0");
	for (;;) {
		for (int n = 0; n < 5; n++)
			recv(fd, buffer, 2000, 0);
		sendto(fd, buffer, 100, 0, (void *)&address, sizeof(address));
	}
}

static void ask(int fd, int type)
{
	struct {
		struct nlmsghdr head;
		struct rtgenmsg body;
	} order = { .head = { .nlmsg_len = sizeof(order), .nlmsg_type = type,
			      .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP } };

	send(fd, &order, sizeof(order), 0);
	while (recv(fd, buffer, sizeof(buffer), 0) > 0)
		if (((struct nlmsghdr *)buffer)->nlmsg_type == NLMSG_DONE)
			return;
}

static void routes(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

	for (;;) {
		ask(fd, RTM_GETROUTE);
		ask(fd, RTM_GETLINK);
		ask(fd, RTM_GETADDR);
		ask(fd, RTM_GETNEIGH);
		ask(fd, RTM_GETRULE);
	}
}

static void links(void)
{
	for (;;) {
		system("/usr/sbin/ip link add d0 type veth peer name d1;"
		       "/usr/sbin/ip addr add 10.8.0.1/24 dev d0; /usr/sbin/ip link set d0 up;"
		       "/usr/sbin/ip link set d1 up; /usr/sbin/ip route add 10.7.0.0/16 dev d0;"
		       "/usr/sbin/ip link del d0");
	}
}

/* To the other network namespace, through netfilter's rules on both sides. */
static void veth(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	inet_aton("10.9.0.2", &address.sin_addr);
	for (int n = 0;; n++) {
		struct iovec part = { buffer, n % 4000 };
		struct mmsghdr messages[2] = {
			{ .msg_hdr = { &address, sizeof(address), &part, 1, NULL, 0, 0 } },
			{ .msg_hdr = { &address, sizeof(address), &part, 1, NULL, 0, 0 } },
		};

		address.sin_port = htons(9000 + n % 50);
		sendmmsg(fd, messages, 2, 0);
		if (n % 200 == 0)
			system("ping -c 1 -W 1 10.9.0.2 >/dev/null; ping6 -c 1 -W 1 ::1 >/dev/null");
	}
}

static void options(void)
{
	for (int n = 0;; n++) {
		int fd = socket(n % 2 ? AF_INET : AF_INET6, SOCK_DGRAM, 0), value = 70000;
		struct ip_mreqn group = { .imr_ifindex = 1 };
		struct ifreq request = { .ifr_name = "lo" };
		socklen_t size = sizeof(value);

		group.imr_multiaddr.s_addr = htonl(0xe0000009);
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, sizeof(value));
		getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, &size);
		setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group));
		ioctl(fd, SIOCGIFFLAGS, &request);
		ioctl(fd, FIONREAD, &value);
		close(fd);
	}
}

static void filtered(void)
{
	struct sock_filter code[] = { { BPF_RET | BPF_K, 0, 0, 65535 } };
	struct sock_fprog program = { 1, code };
	int ends[2];

	connected(AF_INET, SOCK_DGRAM, ends);
	for (;;) {
		setsockopt(ends[0], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
		for (int n = 0; n < 20; n++) {
			send(ends[1], buffer, 200, 0);
			recv(ends[0], buffer, 200, MSG_DONTWAIT);
		}
		setsockopt(ends[0], SOL_SOCKET, SO_DETACH_FILTER, NULL, 0);
	}
}
