/* The list of nodes with a mark, and the thread that settles them. */
#include "union/settle.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/sys.h"
#include "union/lowerdata.h"
#include "union/copyup.h"
#include "union/data.h"
#include "union/searchmarks.h"
#include "union/sync.h"

#define AGE 5	  /* seconds for which a node may be unsettled before the thread turns to it */
#define BATCH 512 /* nodes for one syncfs */
#define SEARCH_AGAIN 600 /* seconds after a search that did not get everywhere */

static int64_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

void ply_settle_init(struct ply_union *u)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&u->settle_run, NULL);
	pthread_mutex_init(&u->settle_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&u->settle_wake, &attr);
	pthread_condattr_destroy(&attr);
	u->unsettled_end = &u->unsettled;
}

void ply_settle_free(struct ply_union *u)
{
	pthread_cond_destroy(&u->settle_wake);
	pthread_mutex_destroy(&u->settle_lock);
	pthread_mutex_destroy(&u->settle_run);
}

/* ---- the list ---- */

int ply_settle_is_left(struct ply_union *u)
{
	int root = u->upper.work_root;

	sys_rename(root, PLY_SETTLING, root, PLY_UNSETTLED, 0);
	return sys_access(root, PLY_UNSETTLED) == 0;
}

int ply_settle_announce(struct ply_union *u)
{
	int fd;

	if (atomic_load(&u->has_flag))
		return 0;
	fd = sys_open(u->upper.work_root, PLY_UNSETTLED, O_WRONLY | O_CREAT, S_IRUSR | S_IWUSR);
	if (fd < 0)
		return fd;
	sys_close(fd);
	ply_sync_together(u);
	atomic_store(&u->has_flag, 1);
	return 0;
}

static void append_locked(struct ply_union *u, struct ply_lowerdata *data)
{
	data->since = seconds();
	data->next = NULL;
	data->prev = u->unsettled_end;
	*u->unsettled_end = data;
	u->unsettled_end = &data->next;
	u->nunsettled++;
}

static void remove_locked(struct ply_union *u, struct ply_lowerdata *data)
{
	*data->prev = data->next;
	if (data->next)
		data->next->prev = data->prev;
	else
		u->unsettled_end = data->prev;
	data->prev = NULL;
	u->nunsettled--;
}

void ply_settle_add(struct ply_union *u, struct ply_node *node)
{
	struct ply_lowerdata *data = node->lowerdata;

	if (!ply_node_has_data(node) &&
	    (!data->layer || (u->metacopy && !atomic_load(&u->settles_all))))
		return;
	ply_node_ref(u, node);
	pthread_mutex_lock(&u->settle_lock);
	if (!data->prev) {
		data->node = node;
		append_locked(u, data);
		if (u->nunsettled == 1)
			pthread_cond_signal(&u->settle_wake);
		pthread_mutex_unlock(&u->settle_lock);
		return;
	}
	pthread_mutex_unlock(&u->settle_lock);
	ply_node_unref(u, node);
}

void ply_settle_replace(struct ply_union *u, struct ply_node *node, struct ply_lowerdata *data)
{
	struct ply_lowerdata *old = node->lowerdata;

	node->lowerdata = data;
	if (!old)
		return;
	data->filled = old->filled;
	data->pinned = old->pinned;
	data->keeps = old->keeps;
	data->lost = old->lost;
	pthread_mutex_lock(&u->settle_lock);
	if (old->prev) {
		data->node = node;
		data->since = old->since;
		data->prev = old->prev;
		data->next = old->next;
		*data->prev = data;
		if (data->next)
			data->next->prev = &data->next;
		else
			u->unsettled_end = &data->next;
	}
	pthread_mutex_unlock(&u->settle_lock);
	free(old);
	/* Until now there was nothing to bring up. */
	if (ply_node_in_upper(node))
		ply_settle_add(u, node);
}

/* Out of the list. node->lock is held, and the caller has a reference. */
static void forget(struct ply_union *u, struct ply_node *node)
{
	struct ply_lowerdata *data = node->lowerdata;
	int was_in = 0;

	pthread_mutex_lock(&u->settle_lock);
	if (data->prev) {
		remove_locked(u, data);
		was_in = 1;
	}
	pthread_mutex_unlock(&u->settle_lock);
	if (was_in)
		ply_node_unref(u, node);
}

void ply_settle_if_gone(struct ply_union *u, struct ply_node *node)
{
	int parked;

	if (!node->lowerdata)
		return;
	pthread_mutex_lock(&u->tree);
	parked = node->names && node->names->parent == u->work_node;
	pthread_mutex_unlock(&u->tree);
	/* By names that nobody knows a mark is found as well; and one that only a lower layer has may get a link of it. */
	if ((node->held || parked) && ply_links_left(u, node) == 0)
		forget(u, node);
}

/* ---- one node ---- */

static int remove_marks(struct ply_union *u, struct ply_node *node)
{
	struct ply_place place;
	int err = ply_place_of(u, node, &place);

	if (err)
		return err;
	err = ply_upper_remove_metacopy(&u->upper, place.fd, place.name,
					node->lowerdata->pinned || node->lowerdata->was_found);
	ply_place_put(u, &place);
	return err;
}

static int unmark_locked(struct ply_union *u, struct ply_node *node)
{
	int err;

	PLY_ASSERT_LOCKED(&node->lock);
	if (node->state != PLY_STATE_DATA_UP)
		return 0;
	if (node->lowerdata->lost)
		return -EIO;
	err = remove_marks(u, node);
	if (err && err != -ENOENT && err != -ESTALE)
		return err;
	forget(u, node);
	ply_node_set_state(node, PLY_STATE_UPPER);
	free(node->lowerdata);
	node->lowerdata = NULL;
	return 0;
}

int ply_settle_unmark(struct ply_union *u, struct ply_node *node)
{
	int err;

	pthread_mutex_lock(&node->lock);
	err = unmark_locked(u, node);
	pthread_mutex_unlock(&node->lock);
	return err;
}

/* The mark says no more that the data is there in this boot: neither is it to the next server. */
static void mark_lost(struct ply_union *u, struct ply_node *node)
{
	struct ply_place place;

	if (!atomic_exchange(&u->has_lost, 1))
		ply_error("data could not be written to the upper directory's file system: "
			  "fsync of the files concerned fails from now on");
	node->lowerdata->lost = 1;
	if (ply_place_of(u, node, &place))
		return;
	ply_upper_set_mark(&u->upper, place.fd, place.name, PLY_MARK_METACOPY, "", 0);
	ply_place_put(u, &place);
}

void ply_settle_lost(struct ply_union *u, struct ply_node *node)
{
	pthread_mutex_lock(&node->lock);
	if (node->lowerdata && (node->lowerdata->filling || ply_node_has_data(node)))
		mark_lost(u, node);
	pthread_mutex_unlock(&node->lock);
}

int ply_settle_emptied(struct ply_union *u, struct ply_node *node)
{
	int err = 0;

	if (!atomic_load(&u->has_lost))
		return 0;
	pthread_mutex_lock(&node->lock);
	if (node->state == PLY_STATE_DATA_UP && node->lowerdata->lost) {
		node->lowerdata->lost = 0;
		err = unmark_locked(u, node);
		if (err)
			node->lowerdata->lost = 1;
	}
	pthread_mutex_unlock(&node->lock);
	return err;
}

int ply_settle_node(struct ply_union *u, struct ply_node *node)
{
	int err = ply_copyup(u, node, PLY_WHOLE_FILE);

	return err ? err : ply_fsync(u, node, PLY_SYNC_ALL);
}

/* ---- many ---- */

struct batch {
	struct ply_node *nodes[BATCH];
	char has_data[BATCH]; /* before the sync */
	size_t n;
};

/* The oldest, if they came before that second; each goes to the end of the list until it is done. */
static void take_batch(struct ply_union *u, int64_t before, size_t most, struct batch *b)
{
	b->n = 0;
	pthread_mutex_lock(&u->settle_lock);
	while (u->unsettled && u->unsettled->since <= before && b->n < most) {
		struct ply_lowerdata *data = u->unsettled;

		remove_locked(u, data);
		append_locked(u, data);
		ply_node_ref(u, data->node);
		b->nodes[b->n++] = data->node;
	}
	pthread_mutex_unlock(&u->settle_lock);
}

static int bring_data(struct ply_union *u, struct batch *b)
{
	int first = 0;

	for (size_t i = 0; i < b->n; i++) {
		int err = ply_copyup(u, b->nodes[i], PLY_WHOLE_FILE);

		b->has_data[i] = (char)ply_node_has_data(b->nodes[i]);
		if (!first)
			first = err;
	}
	return first;
}

static int unmark_batch(struct ply_union *u, const struct batch *b)
{
	int first = 0;

	for (size_t i = 0; i < b->n; i++) {
		int err = b->has_data[i] ? ply_settle_unmark(u, b->nodes[i]) : 0;

		if (!first)
			first = err;
	}
	return first;
}

/*
 * syncfs tells of an error once, and not which file it was. Those of a later batch may have been written to the disk
 * then, too, and the next syncfs finds nothing wrong: after an error each file is synced by itself.
 */
static int sync_batch(struct ply_union *u, const struct batch *b)
{
	int first = 0;

	if (!u->sync)
		return 0;
	if (!u->syncs_each && sys_syncfs(u->upper.work_root) == 0)
		return 0;
	u->syncs_each = 1;
	for (size_t i = 0; i < b->n; i++) {
		int err = b->has_data[i] ? ply_fsync(u, b->nodes[i], PLY_SYNC_ALL) : 0;

		if (!first)
			first = err;
	}
	return first;
}

static int settle_batch(struct ply_union *u, struct batch *b)
{
	int err = bring_data(u, b), synced = sync_batch(u, b);

	if (!synced)
		synced = unmark_batch(u, b);
	for (size_t i = 0; i < b->n; i++)
		ply_node_unref(u, b->nodes[i]);
	return err ? err : synced;
}

/* ---- after a crash ---- */

/* What it does not find is settled when it is looked up, or by the next server. */
static int search(struct ply_union *u, unsigned age)
{
	int err;

	if (!atomic_load(&u->must_find) || (age && seconds() < u->search_again))
		return 0;
	err = ply_search_marks(u);
	if (err)
		u->search_again = seconds() + SEARCH_AGAIN;
	else
		atomic_store(&u->must_find, 0);
	return err;
}

size_t ply_settle_count(struct ply_union *u)
{
	size_t n;

	pthread_mutex_lock(&u->settle_lock);
	n = u->nunsettled;
	pthread_mutex_unlock(&u->settle_lock);
	return n;
}

int ply_settle_locked(struct ply_union *u, unsigned age, int64_t until)
{
	int64_t before = seconds() - age;
	int err = search(u, age);
	struct batch *b;
	size_t left;

	b = malloc(sizeof(*b));
	if (!b)
		return -ENOMEM;
	left = ply_settle_count(u);
	while (left && seconds() <= until) {
		int failed;

		take_batch(u, before, left < BATCH ? left : BATCH, b);
		if (!b->n)
			break;
		left -= b->n;
		failed = settle_batch(u, b);
		if (!err)
			err = failed;
	}
	free(b);
	return err;
}

int ply_settle(struct ply_union *u, unsigned age)
{
	int err;

	pthread_mutex_lock(&u->settle_run);
	err = ply_settle_locked(u, age, INT64_MAX);
	pthread_mutex_unlock(&u->settle_run);
	return err;
}

int ply_flush(struct ply_union *u, unsigned budget, enum ply_flush_what what, uint64_t *left)
{
	int err;

	*left = 0;
	if (ply_union_readonly(u))
		return 0;
	pthread_mutex_lock(&u->settle_run);
	if (what == PLY_FLUSH_ALL_DATA && u->metacopy && !atomic_exchange(&u->settles_all, 1))
		atomic_store(&u->must_find, 1);
	err = ply_settle_locked(u, 0, seconds() + budget);
	*left = ply_settle_count(u);
	if (!*left || err)
		atomic_store(&u->settles_all, 0);
	pthread_mutex_unlock(&u->settle_run);
	return err;
}

void ply_settle_all(struct ply_union *u)
{
	int err;

	if (!atomic_load(&u->has_flag) && !u->nunsettled)
		return;
	/* Who wants to mount the upper again can see that it is worth while to wait. */
	sys_rename(u->upper.work_root, PLY_UNSETTLED, u->upper.work_root, PLY_SETTLING, 0);
	err = ply_settle(u, 0);
	if (!err && !u->nunsettled)
		sys_unlink(u->upper.work_root, PLY_SETTLING);
	if (err && u->nunsettled)
		ply_error("%zu files are not settled yet, which the next mount will do: %s",
			  u->nunsettled, strerror(-err));
	else if (err)
		ply_error("the upper directory cannot be searched for files to settle: %s",
			  strerror(-err));
}

/* ---- the thread ---- */

/* Waits that long, or for the end. */
static void sleep_locked(struct ply_union *u, unsigned how_long)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += how_long;
	while (!u->settler_ends &&
	       pthread_cond_timedwait(&u->settle_wake, &u->settle_lock, &until) == 0)
		;
}

static void *run(void *arg)
{
	struct ply_union *u = arg;

	pthread_mutex_lock(&u->settle_lock);
	while (!u->settler_ends) {
		if (!u->unsettled && !atomic_load(&u->must_find)) {
			pthread_cond_wait(&u->settle_wake, &u->settle_lock);
			continue;
		}
		sleep_locked(u, AGE);
		if (u->settler_ends)
			break;
		pthread_mutex_unlock(&u->settle_lock);
		ply_settle(u, AGE);
		pthread_mutex_lock(&u->settle_lock);
	}
	pthread_mutex_unlock(&u->settle_lock);
	return NULL;
}

int ply_settler_start(struct ply_union *u)
{
	int err;

	if (ply_union_readonly(u))
		return 0;
	err = pthread_create(&u->settler, NULL, run, u);
	u->settler_runs = !err;
	return -err;
}

void ply_settler_stop(struct ply_union *u)
{
	if (!u || !u->settler_runs)
		return;
	pthread_mutex_lock(&u->settle_lock);
	u->settler_ends = 1;
	pthread_cond_signal(&u->settle_wake);
	pthread_mutex_unlock(&u->settle_lock);
	pthread_join(u->settler, NULL);
	u->settler_runs = 0;
}
