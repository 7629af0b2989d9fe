/* Arrays that grow: to twice their size, so that adding to them costs the same on the whole. */
#include "base/room.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 64

int ply_make_room(void *array, size_t *size, size_t used, size_t element)
{
	size_t more = *size ? *size * 2 : FIRST_ROOM;
	void *old, *grown;

	if (used < *size)
		return 0;
	/* The pointer may be one to any type. */
	memcpy(&old, array, sizeof(old));
	grown = realloc(old, more * element);
	if (!grown)
		return -ENOMEM;
	memcpy(array, &grown, sizeof(grown));
	*size = more;
	/* cppcheck-suppress memleak; the caller's pointer has it */
	return 0;
}
