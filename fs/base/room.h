/* Arrays that grow. */
#ifndef PLY_BASE_ROOM_H
#define PLY_BASE_ROOM_H

#include <stddef.h>

/*
 * Room for one more element behind the first used ones. array: the address of the pointer to them, which may be NULL with
 * *size 0; both change when the array grows. -ENOMEM, and nothing has changed.
 */
int ply_make_room(void *array, size_t *size, size_t used, size_t element);

#endif
