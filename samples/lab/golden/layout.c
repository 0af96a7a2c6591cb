/*
 * Types of 3.10.0-1160.el7.x86_64 as far as the report uses them, written anew.
 * The report prints the offsets of nf_conn and, as a displacement, that of
 * net.ct.nf_conntrack_event_cb; member order of the others is that of el7's headers, and
 * build.py checks every offset that is printed. What lies between is a gap, and says so.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef u8 u_int8_t;
typedef u16 u_int16_t;
typedef u32 u_int32_t;
typedef u16 __u16;
typedef u8 __u8;
typedef u16 __be16;
typedef u32 __be32;
typedef u16 __sum16;
typedef unsigned int sk_buff_data_t;
typedef unsigned long size_t;
typedef _Bool bool;
typedef struct { int counter; } atomic_t;
typedef struct { u32 slock; } spinlock_t;

struct list_head { struct list_head *next, *prev; };
struct hlist_nulls_node { struct hlist_nulls_node *next, **pprev; };
struct hlist_nulls_head { struct hlist_nulls_node *first; };
struct hlist_node { struct hlist_node *next, **pprev; };
struct hlist_head { struct hlist_node *first; };

struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8;
	unsigned long ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

struct task_struct {
	void *stack;
	int pid;
	char comm[16];
};

struct thread_info {
	struct task_struct *task;
	u32 cpu;
};

union thread_union {
	struct thread_info thread_info;
	unsigned long stack[0x4000 / 8];
};

struct module;
struct sock;
struct socket;
struct net;
struct kmem_cache;
struct ctl_table_header;
struct ct_pcpu;
struct ip_conntrack_stat;
struct nf_ct_event_notifier;
struct nf_exp_event_notifier;
struct nf_ct_ext;
struct nlmsghdr;
struct nlattr;
struct msghdr;
struct user_msghdr;
struct kiocb;

struct in_addr { __be32 s_addr; };
struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be16 u6_addr16[8];
		__be32 u6_addr32[4];
	} in6_u;
};

union nf_inet_addr {
	u32 all[4];
	__be32 ip;
	__be32 ip6[4];
	struct in_addr in;
	struct in6_addr in6;
};

union nf_conntrack_man_proto {
	__be16 all;
	struct { __be16 port; } tcp;
	struct { __be16 port; } udp;
	struct { __be16 id; } icmp;
	struct { __be16 port; } dccp;
	struct { __be16 port; } sctp;
	struct { __be16 key; } gre;
};

struct nf_conntrack_man {
	union nf_inet_addr u3;
	union nf_conntrack_man_proto u;
	u_int16_t l3num;
};

struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
	struct {
		union nf_inet_addr u3;
		union {
			__be16 all;
			struct { __be16 port; } tcp;
			struct { __be16 port; } udp;
			struct { u_int8_t type, code; } icmp;
			struct { __be16 port; } dccp;
			struct { __be16 port; } sctp;
			struct { __be16 key; } gre;
		} u;
		u_int8_t protonum;
		u_int8_t dir;
	} dst;
};

struct nf_conntrack_tuple_hash {
	struct hlist_nulls_node hnnode;
	struct nf_conntrack_tuple tuple;
};

struct timer_list {
	struct list_head entry;
	unsigned long expires;
	void *base;
	void (*function)(unsigned long);
	unsigned long data;
	int slack;
	int start_pid;
	void *start_site;
	char start_comm[16];
};

struct nf_conntrack { atomic_t use; };
union nf_conntrack_proto { u64 gap_of_this_reconstruction[8]; };

struct nf_conn {
	struct nf_conntrack ct_general;
	spinlock_t lock;
	u16 cpu;
	struct nf_conntrack_tuple_hash tuplehash[2];
	unsigned long status;
	struct nf_conn *master;
	struct timer_list timeout;
	u_int32_t mark;
	u_int32_t secmark;
	struct nf_ct_ext *ext;
	struct net *ct_net;
	union nf_conntrack_proto proto;
};

struct netns_ct {
	atomic_t count;
	unsigned int expect_count;
	struct ctl_table_header *sysctl_header;
	struct ctl_table_header *acct_sysctl_header;
	struct ctl_table_header *tstamp_sysctl_header;
	struct ctl_table_header *event_sysctl_header;
	struct ctl_table_header *helper_sysctl_header;
	char *slabname;
	unsigned int sysctl_log_invalid;
	unsigned int sysctl_events_retry_timeout;
	int sysctl_events;
	int sysctl_acct;
	int sysctl_auto_assign_helper;
	bool __rh_reserved;
	int sysctl_tstamp;
	int sysctl_checksum;
	unsigned int htable_size;
	struct kmem_cache *nf_conntrack_cachep;
	struct hlist_nulls_head *hash;
	struct hlist_head *expect_hash;
	struct hlist_nulls_head unconfirmed;
	struct hlist_nulls_head dying;
	struct hlist_nulls_head tmpl;
	struct ct_pcpu *pcpu_lists;
	struct ip_conntrack_stat *stat;
	struct nf_ct_event_notifier *nf_conntrack_event_cb;
	struct nf_exp_event_notifier *nf_expect_event_cb;
};

struct net {
	char gap_of_this_reconstruction[0x990];
	struct netns_ct ct;
};

struct net_device {
	char name[16];
};

struct sk_buff {
	struct sk_buff *next;
	struct sk_buff *prev;
	u64 tstamp;
	struct sock *sk;
	struct net_device *dev;
	char cb[48] __attribute__((aligned(8)));
	unsigned long _skb_refdst;
	void *sp;
	unsigned int len, data_len;
	__u16 mac_len, hdr_len;
	union {
		u32 csum;
		struct { __u16 csum_start, csum_offset; };
	};
	u32 priority;
	__u8 ignore_df : 1, cloned : 1, ip_summed : 2, nohdr : 1, nfctinfo : 3;
	__u8 pkt_type : 3, fclone : 2, ipvs_property : 1, peeked : 1, nf_trace : 1;
	__be16 protocol;
	void (*destructor)(struct sk_buff *skb);
	struct nf_conntrack *nfct;
	void *nf_bridge;
	int skb_iif;
	u32 hash;
	__be16 vlan_proto;
	__u16 vlan_tci;
	__u16 tc_index;
	__u16 tc_verd;
	__u16 queue_mapping;
	__u16 flags2;
	u32 napi_id;
	u32 secmark;
	u32 mark;
	__be16 inner_protocol;
	__u16 inner_transport_header;
	__u16 inner_network_header;
	__u16 inner_mac_header;
	__u16 transport_header;
	__u16 network_header;
	__u16 mac_header;
	__u16 flags3;
	u32 rh_reserved1, rh_reserved2, rh_reserved3, rh_reserved4;
	sk_buff_data_t tail;
	sk_buff_data_t end;
	unsigned char *head, *data;
	unsigned int truesize;
	atomic_t users;
};

struct iphdr {
	__u8 ihl : 4, version : 4;
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__sum16 check;
	__be32 saddr;
	__be32 daddr;
};

struct nf_hook_state;
struct nf_hook_ops;
typedef unsigned int nf_hookfn(const struct nf_hook_ops *ops, struct sk_buff *skb,
			       const struct net_device *in, const struct net_device *out,
			       const struct nf_hook_state *state);

struct nf_hook_ops {
	struct list_head list;
	nf_hookfn *hook;
	struct module *owner;
	void *priv;
	u_int8_t pf;
	unsigned int hooknum;
	int priority;
	unsigned long __rht_reserved1;
	unsigned long __rht_reserved2;
	unsigned long __rht_reserved3;
	unsigned long __rht_reserved4;
	unsigned long __rht_reserved5;
};

struct nf_hook_state {
	size_t size;
	unsigned int hook;
	int thresh;
	u_int8_t pf;
	struct net_device *in;
	struct net_device *out;
	struct sock *sk;
	int (*okfn)(struct sock *, struct sk_buff *);
	struct net *net;
};

struct nf_queue_entry {
	struct list_head list;
	struct sk_buff *skb;
	unsigned int id;
	struct nf_hook_ops *elem;
	struct nf_hook_state state;
	u16 size;
};

/* include/uapi/linux/netfilter.h */
enum { NFPROTO_UNSPEC = 0, NFPROTO_IPV4 = 2, NFPROTO_ARP = 3, NFPROTO_BRIDGE = 7,
       NFPROTO_IPV6 = 10, NFPROTO_DECNET = 12, NFPROTO_NUMPROTO };
enum nf_inet_hooks { NF_INET_PRE_ROUTING, NF_INET_LOCAL_IN, NF_INET_FORWARD,
		     NF_INET_LOCAL_OUT, NF_INET_POST_ROUTING, NF_INET_NUMHOOKS };
enum ip_conntrack_status { IPS_EXPECTED = 1 << 0, IPS_SEEN_REPLY = 1 << 1, IPS_ASSURED = 1 << 2,
	IPS_CONFIRMED = 1 << 3, IPS_SRC_NAT = 1 << 4, IPS_DST_NAT = 1 << 5, IPS_SEQ_ADJUST = 1 << 6,
	IPS_SRC_NAT_DONE = 1 << 7, IPS_DST_NAT_DONE = 1 << 8, IPS_DYING = 1 << 9,
	IPS_FIXED_TIMEOUT = 1 << 10, IPS_TEMPLATE = 1 << 11, IPS_UNTRACKED = 1 << 12 };

/* Objects: only their places count; the dump has what is known of their contents. */
#define AT(section_) __attribute__((section(section_), used))
struct net init_net AT(".data.init_net");
struct list_head nf_hooks[NFPROTO_NUMPROTO][8] AT(".data.nf_hooks");
struct nf_hook_ops ipv4_conntrack_ops[8] AT(".data.ipv4_conntrack_ops");
unsigned long swapper_pg_dir[512] AT(".data.swapper_pg_dir");

/* Functions: their bytes are in the dump, as far as the report prints them. gcc ends each with ud2. */
#define FUNCTION(name_, size_, type_, ...)                                        \
	__attribute__((naked, section(".text." #name_), used)) type_ name_(__VA_ARGS__) \
	{ __asm__(".skip " #size_ " - 2"); }

FUNCTION(nf_ct_deliver_cached_events, 0x110, void, struct nf_conn *ct)
FUNCTION(ipv4_confirm, 0x100, unsigned int, const struct nf_hook_ops *ops, struct sk_buff *skb,
	 const struct net_device *in, const struct net_device *out,
	 const struct nf_hook_state *state)
FUNCTION(nf_iterate, 0xe0, unsigned int, struct list_head *head, struct sk_buff *skb,
	 struct nf_hook_state *state, struct nf_hook_ops **elemp)
FUNCTION(nf_reinject, 0x1b0, void, struct nf_queue_entry *entry, unsigned int verdict)
FUNCTION(nfqnl_recv_verdict, 0x310, int, struct sock *ctnl, struct sk_buff *skb,
	 const struct nlmsghdr *nlh, const struct nlattr *const nfqa[])
FUNCTION(nfnetlink_rcv_msg, 0x270, int, struct sk_buff *skb, struct nlmsghdr *nlh)
FUNCTION(netlink_rcv_skb, 0xc0, int, struct sk_buff *skb,
	 int (*cb)(struct sk_buff *, struct nlmsghdr *))
FUNCTION(nfnetlink_rcv, 0x575, void, struct sk_buff *skb)
FUNCTION(netlink_unicast, 0x210, int, struct sock *ssk, struct sk_buff *skb, u32 portid,
	 int nonblock)
FUNCTION(netlink_sendmsg, 0x420, int, struct kiocb *kiocb, struct socket *sock,
	 struct msghdr *msg, size_t len)
FUNCTION(sock_sendmsg, 0xf0, int, struct socket *sock, struct msghdr *msg, size_t size)
FUNCTION(___sys_sendmsg, 0x400, int, void)
FUNCTION(__sys_sendmsg, 0x90, long, int fd, struct user_msghdr *msg, unsigned int flags)
FUNCTION(SyS_sendmsg, 0x20, long, long fd, long msg, long flags)
FUNCTION(system_call_fastpath, 0x2a, void, void)
/* Of these the report prints a return address and no start: the starts are made up. */
FUNCTION(machine_kexec, 0x20, void, void)
FUNCTION(__crash_kexec, 0x20, void, struct pt_regs *regs)
FUNCTION(crash_kexec, 0x20, void, struct pt_regs *regs)
FUNCTION(oops_end, 0x20, void, unsigned long flags, struct pt_regs *regs, int signr)
FUNCTION(no_context, 0x20, void, struct pt_regs *regs, unsigned long error_code,
	 unsigned long address, int signal, int si_code)
FUNCTION(__bad_area_nosemaphore, 0x20, void, struct pt_regs *regs, unsigned long error_code,
	 unsigned long address, int si_code)
FUNCTION(bad_area, 0x20, void, struct pt_regs *regs, unsigned long error_code,
	 unsigned long address)
FUNCTION(__do_page_fault, 0x20, void, struct pt_regs *regs, unsigned long error_code,
	 unsigned long address)
FUNCTION(do_page_fault, 0x20, void, struct pt_regs *regs, unsigned long error_code)
FUNCTION(page_fault, 0x20, void, void)

/* So that the debug information has types which no object or prototype above uses. */
union thread_union *keep_thread_union;
struct iphdr *keep_iphdr;
struct pt_regs *keep_pt_regs;
enum nf_inet_hooks keep_hooks;
enum ip_conntrack_status keep_status;
