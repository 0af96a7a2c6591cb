/*
 * The kernel log's types and variables, as in kernel/printk.c of 3.10 (el7 kept the name
 * struct log). drgn looks the variables up in a file of this name.
 */

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

enum log_flags { LOG_NOCONS = 1, LOG_NEWLINE = 2, LOG_PREFIX = 4, LOG_CONT = 8 };

struct log {
	u64 ts_nsec;
	u16 len;
	u16 text_len;
	u16 dict_len;
	u8 facility;
	u8 flags : 5;
	u8 level : 3;
};

#define AT(section_) __attribute__((section(section_), used))
char *log_buf AT(".data.log_buf");
u32 log_buf_len AT(".data.log_buf_len");
u32 log_first_idx AT(".data.log_first_idx");
u32 log_next_idx AT(".data.log_next_idx");
u64 log_first_seq AT(".data.log_first_seq");

struct log *keep_log;
enum log_flags keep_log_flags;
