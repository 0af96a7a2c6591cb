// SPDX-License-Identifier: GPL-2.0
/* Leaves a function with kinds.ko and does not take it back when it is unloaded. */
#include <linux/module.h>

#include "kinds.h"

static int plugin_send(struct port *port, u32 bytes)
{
	return port->queue.depth + bytes;
}

static int __init plugin_init(void)
{
	fact("handler=%px", plugin_send);
	kinds_set_handler(plugin_send);
	return 0;
}

static void __exit plugin_exit(void)
{
}

module_init(plugin_init);
module_exit(plugin_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("a function that kinds.ko calls too late");
