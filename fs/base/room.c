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
	/* A pointer to any type. */
	memcpy(&old, array, sizeof(old));
	grown = realloc(old, more * element);
	if (!grown)
		return -ENOMEM;
	memcpy(array, &grown, sizeof(grown));
	*size = more;
	return 0;
}
