// SPDX-License-Identifier: GPL-2.0
/* Calls of what is no function. */
#include "kinds.h"

static int open_port(struct port *port)
{
	return port->queue.depth;
}

static const struct port_ops half_ops = { .open = open_port };

DEEP static int close_port(struct port *port)
{
	return port->ops->close(port) + 1;
}

static void call_null(struct port *port)
{
	port->ops = &half_ops;
	sink += close_port(port);
}

DEEP static int send_port(struct port *port, u32 bytes)
{
	return port->ops->send(port, bytes) + 1;
}

static void call_through(struct port *port, void *function)
{
	struct port_ops *ops = kzalloc(sizeof(*ops), GFP_KERNEL);

	ops->send = function;
	port->ops = ops;
	fact("ops=%px function=%px", ops, function);
	sink += send_port(port, 100);
}

static void call_data(struct port *port)
{
	call_through(port, port->queue.owner);
}

static void call_user(struct port *port)
{
	call_through(port, (void __force *)port->request);
}

static void call_random(struct port *port)
{
	call_through(port, (void *)0x4a11c0de4a11c0de);
}

/* The function of a module that is gone. */
static void call_unloaded(struct port *port)
{
	call_through(port, plugin_handler);
}

/* One that leads into the middle of an instruction, or at none. */
DEEP static int wrong_opcode(struct port *port)
{
	asm volatile(".byte 0x0f, 0xff" ::: "memory");
	return port->queue.depth;
}

static void bad_opcode(struct port *port)
{
	sink += wrong_opcode(port);
}

const struct kind jump_kinds[] = {
	{ "nullcall", call_null },
	{ "nxjump", call_data },
	{ "smep", call_user },
	{ "wildcall", call_random },
	{ "unloaded", call_unloaded },
	{ "opcode", bad_opcode },
	{}
};
