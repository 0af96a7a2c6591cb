// SPDX-License-Identifier: GPL-2.0
/* The guest's process: writes its last argument to /dev/kinds. "eat" takes memory instead. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void eat(void)
{
	for (;;) {
		char *area = malloc(1 << 20);

		if (area)
			memset(area, 0x5e, 1 << 20);
	}
}

int main(int count, char **words)
{
	const char *word = words[count - 1];
	int file;

	if (!strcmp(word, "eat"))
		eat();
	if (!strcmp(word, "segv"))
		*(volatile int *)16 = 1;
	file = open("/dev/kinds", O_WRONLY);
	if (file < 0 || write(file, word, strlen(word)) < 0) {
		perror("lab: failed: /dev/kinds");
		return 1;
	}
	return 0;
}
