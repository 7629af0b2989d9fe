/* Changing inputs, and trying them; the header says how. */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define CORPUS "tests/fuzz/corpus"
#define LONG_FACTOR 40
#define CHANGES_MAX 8
#define HANG 120 /* seconds: far more than any input takes, with any sanitizer on any machine */

struct blob {
	uint8_t *data;
	size_t size;
};

struct fuzz {
	const struct fuzz_target *target;
	uint64_t seed, random;
	struct blob *corpus;
	size_t ncorpus;
	struct blob work; /* being changed; the target's max */
	char path[4096];  /* of the input at work */
	uint8_t *saved;	  /* its content */
	int fd;
};

static struct fuzz fuzz;

/* ---- the input at work ---- */

static void die(const char *what)
{
	dprintf(STDERR_FILENO, "%s: %s\n", what, strerror(errno));
	exit(1);
}

void fuzz_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("not ok %s # ", fuzz.target->name);
	vprintf(fmt, ap);
	va_end(ap);
	printf("; the input is %s\n", fuzz.path);
	exit(1);
}

static void hang(int signo)
{
	(void)signo;
	dprintf(STDERR_FILENO, "an input takes for ever: %s\n", fuzz.path);
	_exit(1);
}

static void open_saved(void)
{
	const char *build = getenv("BUILD");

	snprintf(fuzz.path, sizeof(fuzz.path), "%s/tests/fuzz/%s.input", build ? build : "build",
		 fuzz.target->name);
	fuzz.fd = open(fuzz.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fuzz.fd < 0)
		die(fuzz.path);
	fuzz.saved = mmap(NULL, fuzz.target->max, PROT_READ | PROT_WRITE, MAP_SHARED, fuzz.fd, 0);
	if (fuzz.saved == MAP_FAILED)
		die("mmap");
}

static void close_saved(void)
{
	munmap(fuzz.saved, fuzz.target->max);
	fuzz.saved = NULL;
	close(fuzz.fd);
	unlink(fuzz.path);
}

/* The target gets a copy of just that size, behind which a sanitizer looks. */
static void try(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy || (fuzz.saved && ftruncate(fuzz.fd, (off_t)size)))
		die("the input's file");
	if (fuzz.saved && size)
		memcpy(fuzz.saved, data, size);
	memcpy(copy, data, size);
	alarm(HANG);
	fuzz.target->try(copy, size);
	free(copy);
}

/* ---- the corpus ---- */

static struct blob read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct blob blob = { .data = malloc(fuzz.target->max) };
	ssize_t n = fd < 0 || !blob.data ? -1 : read(fd, blob.data, fuzz.target->max);

	if (n < 0)
		die(path);
	close(fd);
	blob.size = (size_t)n;
	return blob;
}

static int is_shown(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static void read_corpus(void)
{
	char path[4096];
	struct dirent **list;
	int n;

	snprintf(path, sizeof(path), CORPUS "/%s", fuzz.target->name);
	n = scandir(path, &list, is_shown, alphasort);
	if (n < 1)
		die(path);
	fuzz.corpus = calloc((size_t)n, sizeof(*fuzz.corpus));
	if (!fuzz.corpus)
		die("corpus");
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), CORPUS "/%s/%s", fuzz.target->name, list[i]->d_name);
		fuzz.corpus[fuzz.ncorpus++] = read_file(path);
		free(list[i]);
	}
	free(list);
}

static void free_corpus(void)
{
	while (fuzz.ncorpus)
		free(fuzz.corpus[--fuzz.ncorpus].data);
	free(fuzz.corpus);
}

/* ---- chance ---- */

static uint64_t draw(void)
{
	uint64_t z = fuzz.random += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static size_t below(size_t n)
{
	return n ? draw() % n : 0;
}

/* ---- changes ---- */

static void put_in(struct blob *b, size_t at, const void *data, size_t size)
{
	if (size > fuzz.target->max - b->size)
		size = fuzz.target->max - b->size;
	memmove(b->data + at + size, b->data + at, b->size - at);
	if (data)
		memcpy(b->data + at, data, size);
	b->size += size;
}

static void change_byte(struct blob *b)
{
	if (b->size)
		b->data[below(b->size)] = (uint8_t)draw();
}

static void change_bit(struct blob *b)
{
	if (b->size)
		b->data[below(b->size)] ^= (uint8_t)(1u << below(8));
}

/* A number that is at some limit. */
static void change_number(struct blob *b)
{
	size_t width = (size_t)1 << below(4);
	uint64_t n = ((uint64_t)1 << below(64)) + below(3) - 1;

	if (b->size >= width)
		memcpy(b->data + below(b->size - width + 1), &n, width);
}

static void take_out(struct blob *b)
{
	size_t at = below(b->size), n = below(below(2) ? 8 : b->size - at) + 1;

	if (n > b->size - at)
		n = b->size - at;
	memmove(b->data + at, b->data + at + n, b->size - at - n);
	b->size -= n;
}

static void cut_off(struct blob *b)
{
	b->size = below(b->size + 1);
}

static void repeat(struct blob *b)
{
	size_t at = below(b->size), n = below(b->size - at) + (b->size > 0);
	uint8_t copy[4096];

	if (n > sizeof(copy))
		n = sizeof(copy);
	memcpy(copy, b->data + at, n);
	put_in(b, at, copy, n);
}

/* The same byte very often. */
static void blow_up(struct blob *b)
{
	size_t at = below(b->size), n = below((size_t)1 << below(22)), before = b->size;

	if (below(8) || !b->size)
		return;
	put_in(b, at, NULL, n);
	memset(b->data + at, b->data[at + (b->size - before)], b->size - before);
}

static void put_word(struct blob *b)
{
	const char *const *words = fuzz.target->words;
	size_t n = 0;

	while (words && words[n])
		n++;
	if (n) {
		const char *word = words[below(n)];

		put_in(b, below(b->size + 1), word, strlen(word));
	}
}

static void put_part(struct blob *b)
{
	const struct blob *other = &fuzz.corpus[below(fuzz.ncorpus)];
	size_t from = below(other->size);

	put_in(b, below(b->size + 1), other->data + from, below(other->size - from + 1));
}

static void put_noise(struct blob *b)
{
	uint64_t noise = draw();

	put_in(b, below(b->size + 1), &noise, below(sizeof(noise)) + 1);
}

static void (*const changes[])(struct blob *b) = {
	change_byte, change_bit, change_number, take_out, cut_off,   repeat,
	blow_up,     put_word,	 put_word,	put_part, put_noise, change_byte,
};

static void change(void)
{
	const struct blob *from = &fuzz.corpus[below(fuzz.ncorpus)];

	memcpy(fuzz.work.data, from->data, from->size);
	fuzz.work.size = from->size;
	for (size_t n = below(CHANGES_MAX) + 1; n > 0; n--)
		changes[below(sizeof(changes) / sizeof(changes[0]))](&fuzz.work);
}

/* ---- runs ---- */

struct run {
	unsigned rounds; /* 0: as the target says */
	char **files;	 /* NULL: the corpus, and what becomes of it */
	int nfiles;
};

static void begin(void)
{
	if (fuzz.target->begin)
		fuzz.target->begin();
}

static void end(void)
{
	alarm(0);
	if (fuzz.target->end)
		fuzz.target->end();
}

static void try_files(const struct run *run)
{
	begin();
	for (int i = 0; i < run->nfiles; i++) {
		struct blob blob = read_file(run->files[i]);

		snprintf(fuzz.path, sizeof(fuzz.path), "%s", run->files[i]);
		try(blob.data, blob.size);
		free(blob.data);
	}
	end();
}

static void try_changes(const struct run *run)
{
	unsigned rounds = run->rounds ? run->rounds : fuzz.target->rounds;

	if (!run->rounds && getenv("PLY_LONG"))
		rounds *= LONG_FACTOR;
	read_corpus();
	open_saved();
	fuzz.work.data = malloc(fuzz.target->max);
	if (!fuzz.work.data)
		die("malloc");
	begin();
	for (size_t i = 0; i < fuzz.ncorpus; i++)
		try(fuzz.corpus[i].data, fuzz.corpus[i].size);
	for (unsigned i = 0; i < rounds; i++) {
		fuzz.random = fuzz.seed << 32 | i;
		change();
		try(fuzz.work.data, fuzz.work.size);
	}
	end();
	printf("%zu seeds of %s, and %u changes of them, seed %llu\n", fuzz.ncorpus,
	       fuzz.target->name, rounds, (unsigned long long)fuzz.seed);
	close_saved();
	free(fuzz.work.data);
	free_corpus();
}

static void run_target(const struct fuzz_target *target, const struct run *run)
{
	fuzz.target = target;
	if (run->nfiles)
		try_files(run);
	else
		try_changes(run);
	printf("ok %s\n", target->name);
	fflush(stdout);
}

/* Of files the name of the target is in the path: the corpus has a directory for each. */
static int is_meant(const struct fuzz_target *target, const struct run *run)
{
	return !run->nfiles || strstr(run->files[0], target->name);
}

int fuzz_main(int argc, char *argv[], const struct fuzz_target *targets)
{
	const char *seed = getenv("PLY_SEED");
	struct run run = { 0 };
	int letter;

	while ((letter = getopt(argc, argv, "s:n:")) != -1) {
		if (letter == 's')
			seed = optarg;
		else if (letter == 'n')
			run.rounds = (unsigned)strtoul(optarg, NULL, 10);
		else
			return 2;
	}
	fuzz.seed = seed ? strtoull(seed, NULL, 10) : 1;
	run.files = argv + optind;
	run.nfiles = argc - optind;
	signal(SIGALRM, hang);
	/* What the code under test says of its input is of no interest; sanitizers use the descriptor itself. */
	stderr = fopen("/dev/null", "w");
	if (!stderr)
		return 1;
	for (; targets->name; targets++)
		if (is_meant(targets, &run))
			run_target(targets, &run);
	return 0;
}

/* ---- reading an input ---- */

size_t fuzz_left(const struct fuzz_in *in)
{
	return (size_t)(in->end - in->at);
}

uint64_t fuzz_number(struct fuzz_in *in, size_t bytes)
{
	uint64_t n = 0;

	if (bytes > fuzz_left(in))
		bytes = fuzz_left(in);
	memcpy(&n, in->at, bytes);
	in->at += bytes;
	return n;
}

unsigned fuzz_pick(struct fuzz_in *in, unsigned n)
{
	return (unsigned)fuzz_number(in, 1) % n;
}

const uint8_t *fuzz_bytes(struct fuzz_in *in, size_t most, size_t *size)
{
	const uint8_t *at = in->at;

	*size = most < fuzz_left(in) ? most : fuzz_left(in);
	in->at += *size;
	return at;
}

void fuzz_string(struct fuzz_in *in, char *text, size_t size)
{
	size_t n = 0;

	while (in->at < in->end && *in->at && *in->at != '\n' && n + 1 < size)
		text[n++] = (char)*in->at++;
	text[n] = '\0';
	if (in->at < in->end)
		in->at++;
}
