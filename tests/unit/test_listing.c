/* Merged listings against a model that knows every layer's entries by name. */
#include "union/listing.h"

#include <dirent.h>

#include "bed.h"

#define LOWERS 5
#define NAMES 60

static unsigned rnd(unsigned n)
{
	static unsigned long long seed = 7;

	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)(seed >> 33) % n;
}

/* What a layer has by a name. */
enum kind {
	NOTHING,
	A_FILE,
	A_DIR,
	A_WHITEOUT, /* a device, or an attribute */
	A_MARK,	    /* .wh.NAME alone */
	MARK_AND_FILE,
	MARK_AND_DIR,
	KINDS,
};

static int is_dir(enum kind k)
{
	return k == A_DIR || k == MARK_AND_DIR;
}

static int is_entry(enum kind k)
{
	return is_dir(k) || k == A_FILE || k == MARK_AND_FILE;
}

/* Layer 0 is the upper, which may have nothing at all. */
struct model {
	enum kind at[LOWERS + 1][NAMES];
};

static const char *name_of(unsigned i)
{
	static char name[32];

	snprintf(name, sizeof(name), "name%u", i);
	return name;
}

/* The topmost layer from first on that says anything of the name, or LOWERS + 1. */
static unsigned top_of(const struct model *m, unsigned first, unsigned name)
{
	while (first <= LOWERS && m->at[first][name] == NOTHING)
		first++;
	return first;
}

static int shows(const struct model *m, unsigned first, unsigned name)
{
	unsigned top = top_of(m, first, name);

	return top <= LOWERS && is_entry(m->at[top][name]);
}

/* The lowers that a lookup must ask, for a name that shows. */
static uint64_t mask_of(const struct model *m, unsigned name)
{
	unsigned l = top_of(m, 0, name);
	uint64_t mask = 0;

	if (!is_dir(m->at[l][name]))
		return l ? 1ull << (l - 1) : 0;
	for (; l <= LOWERS; l++) {
		enum kind k = m->at[l][name];

		if (k == NOTHING)
			continue;
		if (!is_dir(k))
			break;
		if (l)
			mask |= 1ull << (l - 1);
		if (k == MARK_AND_DIR)
			break;
	}
	return mask;
}

static void append_kind(struct ply_listing *l, unsigned name, enum kind k, unsigned layer_flag)
{
	unsigned flags = PLY_ITEM_VISIBLE | layer_flag;
	int err = 0;

	/* A mark comes before or after the entry that it stands beside. */
	if ((k == A_MARK || k >= MARK_AND_FILE) && (name & 1))
		err |= ply_listing_append(l, name_of(name), DT_UNKNOWN, PLY_ITEM_WHITEOUT, 0);
	if (k == A_FILE || k == MARK_AND_FILE)
		err |= ply_listing_append(l, name_of(name), DT_REG, flags | PLY_ITEM_CLOSED, 0);
	if (is_dir(k))
		err |= ply_listing_append(l, name_of(name), DT_DIR, flags, 0);
	if (k == A_WHITEOUT)
		err |= ply_listing_append(l, name_of(name), DT_CHR,
					  PLY_ITEM_WHITEOUT | PLY_ITEM_CLOSED, 0);
	if ((k == A_MARK || k >= MARK_AND_FILE) && !(name & 1))
		err |= ply_listing_append(l, name_of(name), DT_UNKNOWN, PLY_ITEM_WHITEOUT, 0);
	assert_int_equal(err, 0);
}

static struct ply_listing *layer_listing(const struct model *m, unsigned layer)
{
	struct ply_listing *l = ply_listing_new();

	assert_non_null(l);
	for (unsigned i = 0; i < NAMES; i++)
		append_kind(l, i, m->at[layer][i], layer ? PLY_ITEM_LOWER : PLY_ITEM_UPPER);
	ply_listing_sort(l);
	ply_listing_join_marks(l);
	return l;
}

static struct ply_listing *merge(const struct model *m)
{
	struct ply_listing *l = layer_listing(m, 0);

	for (unsigned i = 1; i <= LOWERS; i++)
		assert_int_equal(ply_listing_lay(l, layer_listing(m, i), i - 1), 0);
	ply_listing_finish(l);
	return l;
}

static void check_merged(struct ply_listing *l, const struct model *m)
{
	for (unsigned i = 0; i < NAMES; i++) {
		const struct ply_item *item = ply_listing_find(l, name_of(i));
		int visible = shows(m, 0, i), lower = shows(m, 1, i);

		if (!visible && !lower) {
			assert_null(item);
			continue;
		}
		assert_non_null(item);
		assert_string_equal(ply_item_name(l, item), name_of(i));
		assert_int_equal((item->flags & PLY_ITEM_VISIBLE) != 0, visible);
		assert_int_equal((item->flags & PLY_ITEM_LOWER) != 0, lower);
		assert_int_equal((item->flags & PLY_ITEM_UPPER) != 0, is_entry(m->at[0][i]));
		if (visible) {
			assert_int_equal(item->mask, mask_of(m, i));
			assert_int_equal(item->type,
					 is_dir(m->at[top_of(m, 0, i)][i]) ? DT_DIR : DT_REG);
		}
	}
}

/* Walks from the beginning: every visible name once, with rising cookies. */
static unsigned count_visible(struct ply_listing *l)
{
	uint64_t cookie = 0, own;
	unsigned n = 0;

	assert_int_equal(ply_listing_settle(l), 0);
	while (ply_listing_after(l, cookie, &own)) {
		assert_true(own > cookie && own > PLY_COOKIE_DOTS);
		assert_true((int64_t)own > 0);
		cookie = own;
		n++;
	}
	return n;
}

static void test_layers_are_merged_as_the_model_says(void **state)
{
	struct model m;

	(void)state;
	for (unsigned round = 0; round < 300; round++) {
		struct ply_listing *l;
		unsigned visible = 0;

		memset(&m, 0, sizeof(m));
		for (unsigned layer = round % 3 == 0; layer <= LOWERS; layer++)
			for (unsigned i = 0; i < NAMES; i++)
				m.at[layer][i] = rnd(2) ? NOTHING : (enum kind)rnd(KINDS);
		l = merge(&m);
		check_merged(l, &m);
		for (unsigned i = 0; i < NAMES; i++)
			visible += (unsigned)shows(&m, 0, i);
		assert_int_equal(count_visible(l), visible);
		assert_int_equal(ply_listing_is_empty(l), visible == 0);
		ply_listing_free(l);
	}
}

/* Layers beyond what a mask has bits for share the last one. */
static void test_a_directory_in_a_hundred_layers_is_asked_in_all(void **state)
{
	struct ply_listing *l = ply_listing_new();

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		struct ply_listing *below = ply_listing_new();

		if (i % 10 == 5)
			assert_int_equal(ply_listing_append(below, "d", DT_DIR,
							    PLY_ITEM_VISIBLE | PLY_ITEM_LOWER, 0),
					 0);
		assert_int_equal(ply_listing_lay(l, below, i), 0);
	}
	ply_listing_finish(l);
	assert_int_equal(ply_listing_find(l, "d")->mask,
			 1ull << 5 | 1ull << 15 | 1ull << 25 | 1ull << 35 | 1ull << 45 |
				 1ull << 55 | 1ull << PLY_MASK_REST);
	ply_listing_free(l);
}

static uint64_t cookie_of(struct ply_listing *l, const char *name)
{
	const struct ply_item *item;
	uint64_t cookie = 0, own;

	assert_int_equal(ply_listing_settle(l), 0);
	while ((item = ply_listing_after(l, cookie, &own))) {
		if (!strcmp(ply_item_name(l, item), name))
			return own;
		cookie = own;
	}
	return 0;
}

static void check_changed(struct ply_listing *l, const unsigned char *there, unsigned n,
			  const uint64_t *cookies)
{
	char name[16];
	unsigned visible = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct ply_item *item;
		uint64_t own;

		snprintf(name, sizeof(name), "n%u", i);
		item = ply_listing_find(l, name);
		assert_int_equal(item && (item->flags & PLY_ITEM_VISIBLE), there[i]);
		visible += there[i];
		if (!there[i])
			continue;
		/* Its cookie leads past it, the one before to it. */
		assert_int_equal(ply_listing_settle(l), 0);
		item = ply_listing_after(l, cookies[i] - 1, &own);
		assert_int_equal(own, cookies[i]);
		assert_string_equal(ply_item_name(l, item), name);
	}
	assert_int_equal(count_visible(l), visible);
	assert_int_equal(ply_listing_is_empty(l), visible == 0);
}

static void test_cookies_stay_while_others_come_and_go(void **state)
{
	enum { N = 3000 };
	struct ply_listing *l = ply_listing_new();
	unsigned char *there = calloc(N, 1);
	uint64_t *cookies = calloc(N, sizeof(*cookies));
	char name[16];

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		assert_int_equal(ply_listing_append(l, name, DT_REG,
						    PLY_ITEM_VISIBLE | (i % 2 ? PLY_ITEM_LOWER
									      : PLY_ITEM_UPPER),
						    0),
				 0);
		there[i] = 1;
	}
	ply_listing_sort(l);
	ply_listing_finish(l);
	for (uint64_t cookie = 0, own; cookie || !cookies[0]; cookie = own) {
		const struct ply_item *item = ply_listing_after(l, cookie, &own);

		if (!item)
			break;
		cookies[strtoul(ply_item_name(l, item) + 1, NULL, 10)] = own;
	}
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned k = 0; k < 2000; k++) {
			unsigned i = rnd(N);

			snprintf(name, sizeof(name), "n%u", i);
			if (there[i])
				ply_listing_hide(l, name);
			else
				assert_int_equal(ply_listing_show(l, name, DT_REG), 0);
			there[i] = !there[i];
		}
		check_changed(l, there, N, cookies);
	}
	ply_listing_free(l);
	free(there);
	free(cookies);
}

static void test_what_is_shown_anew_covers_what_was_below(void **state)
{
	struct ply_listing *l = ply_listing_new();
	struct ply_item *item;

	(void)state;
	ply_listing_append(l, "d", DT_DIR, PLY_ITEM_VISIBLE | PLY_ITEM_LOWER, 3);
	ply_listing_sort(l);
	ply_listing_finish(l);
	/* Brought up: it still merges. */
	assert_int_equal(ply_listing_show(l, "d", DT_DIR), 0);
	item = ply_listing_find(l, "d");
	assert_int_equal(item->mask, 3);
	assert_int_equal(item->flags, PLY_ITEM_VISIBLE | PLY_ITEM_LOWER | PLY_ITEM_UPPER);
	/* Removed and made again: it is opaque. A whiteout is needed if it goes once more. */
	ply_listing_hide(l, "d");
	assert_int_equal(ply_listing_find(l, "d")->flags, PLY_ITEM_LOWER);
	assert_true(ply_listing_is_empty(l));
	assert_int_equal(ply_listing_show(l, "d", DT_DIR), 0);
	item = ply_listing_find(l, "d");
	assert_int_equal(item->mask, 0);
	assert_int_equal(item->flags, PLY_ITEM_VISIBLE | PLY_ITEM_LOWER | PLY_ITEM_UPPER);
	/* What only the upper had leaves nothing behind. */
	assert_int_equal(ply_listing_show(l, "u", DT_REG), 0);
	ply_listing_hide(l, "u");
	assert_true(!ply_listing_find(l, "u") || !ply_listing_find(l, "u")->flags);
	ply_listing_hide(l, "never there");
	ply_listing_free(l);
}

static void test_a_listing_full_of_holes_asks_to_be_dropped(void **state)
{
	struct ply_listing *l = ply_listing_new();
	char name[16];
	int full = 0;
	unsigned i;

	(void)state;
	for (i = 0; i < 100000 && !full; i++) {
		snprintf(name, sizeof(name), "tmp%u", i);
		assert_int_equal(ply_listing_show(l, name, DT_REG), 0);
		full = ply_listing_hide(l, name);
	}
	assert_true(full && i < 20000);
	ply_listing_free(l);
}

static void test_long_and_odd_names(void **state)
{
	static const char *const odd[] = { "a", " ", "\n", "\xff\xfe", "..a", "-", "\x01" };
	struct ply_listing *l = ply_listing_new();
	char name[256];

	(void)state;
	for (unsigned i = 0; i < 400; i++) {
		memset(name, 'x', 255);
		snprintf(name + 240, 16, "%015u", i);
		assert_int_equal(ply_listing_append(l, name, DT_REG, PLY_ITEM_VISIBLE, 0), 0);
	}
	for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		assert_int_equal(ply_listing_append(l, odd[i], DT_REG, PLY_ITEM_VISIBLE, 0), 0);
	ply_listing_sort(l);
	ply_listing_finish(l);
	for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		assert_non_null(ply_listing_find(l, odd[i]));
		assert_true(cookie_of(l, odd[i]) > PLY_COOKIE_DOTS);
	}
	assert_int_equal(count_visible(l), 400 + sizeof(odd) / sizeof(odd[0]));
	ply_listing_free(l);
}

static void test_a_million_names_come_and_go(void **state)
{
	enum { N = 1000000 };
	struct ply_listing *l = ply_listing_new();
	char name[32];

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "file-%u", i);
		assert_int_equal(ply_listing_append(l, name, DT_REG, PLY_ITEM_VISIBLE, 0), 0);
	}
	ply_listing_sort(l);
	ply_listing_join_marks(l);
	ply_listing_finish(l);
	for (unsigned i = 0; i < N / 10; i++) {
		snprintf(name, sizeof(name), "%s-%u", i % 2 ? "new" : "file", rnd(N));
		if (rnd(2))
			assert_int_equal(ply_listing_show(l, name, DT_REG), 0);
		else
			ply_listing_hide(l, name);
		if (i % 1000 == 0)
			assert_int_equal(ply_listing_settle(l), 0);
	}
	assert_true(count_visible(l) > N / 2);
	ply_listing_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layers_are_merged_as_the_model_says),
		cmocka_unit_test(test_a_directory_in_a_hundred_layers_is_asked_in_all),
		cmocka_unit_test(test_cookies_stay_while_others_come_and_go),
		cmocka_unit_test(test_what_is_shown_anew_covers_what_was_below),
		cmocka_unit_test(test_a_listing_full_of_holes_asks_to_be_dropped),
		cmocka_unit_test(test_long_and_odd_names),
		cmocka_unit_test(test_a_million_names_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
