/* Listens on an nfnetlink queue that may hold 100 packets.
 *
 *   listener NUMBER stop    take ten packets, give no verdict, stop (SIGSTOP)
 *   listener NUMBER work    take one packet and compute on it for ever
 *   listener NUMBER serve   take one packet, stop; when continued, accept every packet
 */
#include <arpa/inet.h>
#include <err.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static int fd;

static void tell(int queue, int type, int attribute, const void *data, int size)
{
	struct {
		struct nlmsghdr header;
		struct nfgenmsg family;
		struct nlattr attribute;
		char data[16];
	} message = {
		.header = { .nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | type, .nlmsg_flags = NLM_F_REQUEST },
		.family = { .version = NFNETLINK_V0, .res_id = htons(queue) },
		.attribute = { .nla_type = attribute, .nla_len = NLA_HDRLEN + size },
	};

	memcpy(message.data, data, size);
	message.header.nlmsg_len = NLMSG_ALIGN((char *)message.data - (char *)&message + size);
	if (send(fd, &message, message.header.nlmsg_len, 0) < 0)
		err(1, "nfnetlink_queue");
}

static void bind_queue(int queue)
{
	struct nfqnl_msg_config_cmd bind_it = { .command = NFQNL_CFG_CMD_BIND, .pf = htons(AF_INET) };
	struct nfqnl_msg_config_params params = { .copy_range = htonl(64), .copy_mode = NFQNL_COPY_PACKET };
	unsigned int most = htonl(100);

	tell(queue, NFQNL_MSG_CONFIG, NFQA_CFG_CMD, &bind_it, sizeof(bind_it));
	tell(queue, NFQNL_MSG_CONFIG, NFQA_CFG_PARAMS, &params, sizeof(params));
	tell(queue, NFQNL_MSG_CONFIG, NFQA_CFG_QUEUE_MAXLEN, &most, sizeof(most));
}

/* Returns whether it was one; a lost packet is an error of the socket. */
static int take(struct nfqnl_msg_packet_hdr *packet)
{
	char data[8192] __attribute__((aligned(8)));
	const struct nlmsghdr *header = (void *)data;
	const struct nlattr *attribute;

	if (recv(fd, data, sizeof(data), 0) < 0)
		return 0;
	attribute = (void *)((char *)NLMSG_DATA(header) + NLMSG_ALIGN(sizeof(struct nfgenmsg)));
	if (header->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET) ||
	    attribute->nla_type != NFQA_PACKET_HDR)
		return 0;
	memcpy(packet, attribute + 1, sizeof(*packet));
	return 1;
}

static void accept_packet(int queue, unsigned int id)
{
	struct nfqnl_msg_verdict_hdr verdict = { .verdict = htonl(NF_ACCEPT), .id = id };

	tell(queue, NFQNL_MSG_VERDICT, NFQA_VERDICT_HDR, &verdict, sizeof(verdict));
}

int main(int argc, char **argv)
{
	struct nfqnl_msg_packet_hdr packet;
	int queue, taken = 0, serves;

	fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER);
	if (argc != 3 || fd < 0)
		errx(2, "usage: listener NUMBER stop|work|serve");
	prctl(PR_SET_NAME, argv[2]);
	queue = atoi(argv[1]);
	serves = !strcmp(argv[2], "serve");
	bind_queue(queue);
	while (taken < (strcmp(argv[2], "stop") ? 1 : 10))
		taken += take(&packet);
	if (!strcmp(argv[2], "work"))
		for (volatile unsigned long n = 0;; n++)
			;
	raise(SIGSTOP);
	while (serves) {
		accept_packet(queue, packet.packet_id);
		while (!take(&packet))
			;
	}
	return 0;
}
