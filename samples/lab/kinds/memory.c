// SPDX-License-Identifier: GPL-2.0
/* Damage to the allocators' and other common structures, and memory that runs out. */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/vmalloc.h>

#include "kinds.h"

DEEP static void remove_queue(struct queue *queue)
{
	list_del(&queue->link);
	sink += queue->depth;
}

static void delete_twice(struct port *port)
{
	struct queue *queue = new_queue(port);

	new_queue(port);
	fact("queue=%px list=%px", queue, &port->device->queues);
	remove_queue(queue);
	remove_queue(queue);
	sink++;
}

DEEP static void append_queue(struct queue *queue, struct device_state *device)
{
	list_add_tail(&queue->link, &device->queues);
	sink += queue->depth;
}

/* The last entry's link leads into another object. */
static void append_to_damaged(struct port *port)
{
	struct queue *last = new_queue(port), *queue = new_queue(port);

	list_del_init(&queue->link);
	last->link.next = (struct list_head *)&queue->depth;
	fact("last=%px queue=%px list=%px", last, queue, &port->device->queues);
	append_queue(queue, port->device);
	sink++;
}

DEEP static void release_owner(struct owner *owner)
{
	owner->limits.rate = 0;
	kfree(owner);
	sink++;
}

/* The link of the first kfree() leads to another free object: without one before, it may be the
 * list's end, which an object in use may hold as well.
 */
static void free_twice(struct port *port)
{
	struct owner *before = new_owner("before"), *owner = new_owner("twice");

	fact("owner=%px", owner);
	release_owner(before);
	release_owner(owner);
	release_owner(owner);
	sink++;
}

struct note {
	u64 stamp;
	char text[56];
};

DEEP static void write_note(struct note *note)
{
	memset(note, 0x41, sizeof(*note));
}

DEEP static struct note *make_note(void)
{
	return kmalloc(sizeof(struct note), GFP_KERNEL);
}

static void free_list_overwritten(struct port *port)
{
	struct note *note = make_note();

	fact("note=%px", note);
	kfree(note);
	write_note(note);
	sink += (unsigned long)make_note();
	sink += (unsigned long)make_note();
}

DEEP static void write_text(struct note *note, size_t size)
{
	char *text = note->text;
	size_t i;

	for (i = 0; i < size; i++)
		text[i] = 'A' + i % 26;
}

/* With slub_debug=FZPU and panic_on_taint: the check when it is freed finds it. */
static void overflow(struct port *port)
{
	struct note *note = make_note();

	fact("note=%px", note);
	write_text(note, sizeof(note->text) + 6);
	kfree(note);
	sink++;
}

static void write_after_free(struct port *port)
{
	struct note *note = make_note();

	fact("note=%px", note);
	kfree(note);
	note->text[8] = 'A';
	sink += (unsigned long)make_note();
}

/* Pages given back with a mapping, too many for the CPU's own list, which is not checked. */
DEEP static void release_page(struct page *page)
{
	__free_pages(page, 4);
	sink++;
}

static void give_back_pages(struct port *port)
{
	struct page *page = alloc_pages(GFP_KERNEL, 4);

	fact("page=%px pfn=%lx", page, page_to_pfn(page));
	page->mapping = (struct address_space *)port;
	release_page(page);
	sink++;
}

struct order {
	u64 id;
	struct order *next;
	char lines[480];
};

static void order_init(void *order)
{
}

DEEP static struct order *accept_order(struct kmem_cache *cache, struct order *last)
{
	struct order *order = kmem_cache_alloc(cache, GFP_KERNEL);

	if (order) {
		order->next = last;
		order->id = last ? last->id + 1 : 1;
	}
	return order;
}

/* The constructor keeps the cache from being merged with another of this size. */
static void leak_slab(struct port *port)
{
	struct kmem_cache *cache;
	struct order *last = NULL;

	cache = kmem_cache_create("kinds_order", sizeof(struct order), 0, 0, order_init);
	fact("cache=%px object_size=%zu", cache, sizeof(struct order));
	while (!fatal_signal_pending(current))
		last = accept_order(cache, last) ?: last;
	sink += last->id;
}

static void leak_vmalloc(struct port *port)
{
	void **last = NULL, **area;
	unsigned long areas = 0;

	while (!fatal_signal_pending(current)) {
		area = vmalloc(256 * PAGE_SIZE);
		if (!area)
			break;
		*area = last;
		last = area;
		if (++areas % 16 == 0)
			fact("areas=%lu bytes_each=%lu", areas, 256 * PAGE_SIZE);
	}
	sink += areas;
}

static void leak_pages(struct port *port)
{
	unsigned long pages = 0;

	while (!fatal_signal_pending(current)) {
		if (!alloc_pages(GFP_KERNEL, 0))
			break;
		if (++pages % 4096 == 0)
			fact("pages=%lu", pages);
	}
	sink += pages;
}

const struct kind memory_kinds[] = {
	{ "listdel", delete_twice },
	{ "listadd", append_to_damaged },
	{ "dfree", free_twice },
	{ "freelist", free_list_overwritten },
	{ "redzone", overflow },
	{ "poisonwrite", write_after_free },
	{ "badpage", give_back_pages },
	{ "oomslab", leak_slab },
	{ "oomvmalloc", leak_vmalloc },
	{ "oompages", leak_pages },
	{}
};
