/*
 * What a volatile mount leaves in its work directory, so that nobody goes on with an upper that a crash of the
 * machine has left half written: incompat/volatile/dirty, as the kernel's overlayfs does it. Ours also says in which boot
 * that was: as long as it lasts nothing is lost.
 */
#ifndef PLY_LAYER_INCOMPAT_H
#define PLY_LAYER_INCOMPAT_H

#include <stdint.h>

enum ply_incompat {
	PLY_INCOMPAT_NONE,
	PLY_INCOMPAT_THIS_BOOT, /* a volatile mount that this machine has outlived */
};

/*
 * What an earlier mount left in the open directory work: an enum ply_incompat. boot are the bytes of this boot's id, zeros where
 * unknown. -EUCLEAN: what the upper holds may be incomplete, or needs a driver that knows more.
 */
int ply_incompat_check(int work, const uint8_t boot[16]);
/* Leaves the mark of a volatile mount, unless it is there. */
int ply_incompat_set_volatile(int work, const uint8_t boot[16]);

#endif
