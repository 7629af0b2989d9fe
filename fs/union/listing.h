/*
 * Listings: the merged content of one directory, in the order of the names' hashes.
 *
 * A listing also keeps names that are not visible but that a lower layer has: so it answers which layers to
 * ask for a name, and whether removing one needs a whiteout. It belongs to a ply_dir and is covered by the
 * directory's lock. Those of all directories share a budget, over which the longest unused go.
 */
#ifndef PLY_UNION_LISTING_H
#define PLY_UNION_LISTING_H

#include <stddef.h>
#include <stdint.h>

struct ply_union;
struct ply_dir;
struct ply_listing;

enum ply_item_flags {
	PLY_ITEM_VISIBLE = 1 << 0, /* the union shows it */
	PLY_ITEM_UPPER = 1 << 1,   /* the upper has it (not as a whiteout) */
	PLY_ITEM_LOWER = 1 << 2,   /* without the upper the union would show it */
	/* While a listing is being built: */
	PLY_ITEM_CLOSED = 1 << 3,	/* layers below do not count for the union */
	PLY_ITEM_LOWER_CLOSED = 1 << 4, /* nor for what would show without the upper */
	PLY_ITEM_WHITEOUT = 1 << 5,
};

/* 24 bytes, and the name. */
struct ply_item {
	uint64_t hash; /* 63 bits, the low four are 0 */
	uint64_t
		mask; /* bit i: look in lowers[i] of the directory; the last bit: in all from there on */
	uint32_t name; /* offset in the names */
	uint16_t rest; /* with the last bit of mask: the first of those lowers that has it */
	uint8_t type;  /* DT_ value */
	uint8_t flags;
};
#define PLY_MASK_REST 63

struct ply_listing *ply_listing_new(void);
void ply_listing_free(struct ply_listing *l);
const char *ply_item_name(const struct ply_listing *l, const struct ply_item *item);

/* Building: appends without order. -ENOMEM. */
int ply_listing_append(struct ply_listing *l, const char *name, unsigned type, unsigned flags,
		       uint64_t mask);
/* Sorts what was appended. */
void ply_listing_sort(struct ply_listing *l);
/*
 * Of one layer: a .wh. mark (a whiteout of unknown type) joins the entry of its name, which wins over it
 * and hides what is below.
 */
void ply_listing_join_marks(struct ply_listing *l);
/*
 * Lays below, the sorted listing of lowers[i], under l, also sorted. Frees below. -ENOMEM leaves l unusable.
 */
int ply_listing_lay(struct ply_listing *l, struct ply_listing *below, unsigned i);
/* Drops what only mattered while building. */
void ply_listing_finish(struct ply_listing *l);

/* The item of a name, visible or not, or NULL. */
struct ply_item *ply_listing_find(struct ply_listing *l, const char *name);
/* Makes the name visible, as something in the upper. -ENOMEM: the listing is to be dropped. */
int ply_listing_show(struct ply_listing *l, const char *name, unsigned type);
/* 1 when more of the listing is holes than entries: it is better dropped. */
int ply_listing_hide(struct ply_listing *l, const char *name);
/* Merges what was shown lately into the order; ply_listing_after wants that. -ENOMEM. */
int ply_listing_settle(struct ply_listing *l);

/*
 * The first visible item whose cookie is greater than the given one, and its own cookie; NULL at the end.
 * Cookies of entries are greater than PLY_COOKIE_DOTS.
 */
#define PLY_COOKIE_DOTS 2
const struct ply_item *ply_listing_after(struct ply_listing *l, uint64_t cookie, uint64_t *own);
/* Is any item visible? */
int ply_listing_is_empty(const struct ply_listing *l);

/* Milliseconds of some clock, which starts again at 0 now and then. */
uint32_t ply_listing_clock(void);

/* The cache of all directories' listings. dir's lock is held, but for drop of a dying node. */
void ply_listing_install(struct ply_union *u, struct ply_dir *dir, struct ply_listing *l);
void ply_listing_used(struct ply_union *u, struct ply_dir *dir);
void ply_listing_drop(struct ply_union *u, struct ply_dir *dir);

#endif
