/*
 * Fuzzing without help from a compiler: inputs are the files of a corpus, changed at random, and a target does with one
 * what a user could do with it. What is drawn depends on the seed alone, so a run can be had again.
 *
 * The input at work is always in a file, BUILD/tests/fuzz/NAME.input, which is left there when the test does not
 * come to its end: `test_X FILE...` tries it again, and in tests/fuzz/corpus/NAME it stays tested for ever.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

struct fuzz_target {
	const char *name;
	/* What does not hold is told by fuzz_fail. Nothing is kept from one input to the next. */
	void (*try)(const uint8_t *data, size_t size);
	void (*begin)(void), (*end)(void); /* of all inputs; or NULL */
	const char *const *words;	   /* to be put in, ended by NULL; or NULL */
	size_t max;			   /* bytes of an input */
	unsigned rounds;		   /* 40 times as many with PLY_LONG */
};

/*
 * -s SEED (or PLY_SEED; 1), -n ROUNDS; files: these inputs only. The exit status. Targets are ended by one without a name.
 */
int fuzz_main(int argc, char *argv[], const struct fuzz_target *targets);
/* Ends the test. */
void fuzz_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
#define fuzz_check(condition)                                                                      \
	((condition) ? (void)0 : fuzz_fail("%s:%d: %s", __FILE__, __LINE__, #condition))

/* An input is read from the front; behind its end there are zeros. */
struct fuzz_in {
	const uint8_t *at, *end;
};

size_t fuzz_left(const struct fuzz_in *in);
/* A number below n. */
unsigned fuzz_pick(struct fuzz_in *in, unsigned n);
uint64_t fuzz_number(struct fuzz_in *in, size_t bytes);
/* At most so many of the next bytes: *size is how many. */
const uint8_t *fuzz_bytes(struct fuzz_in *in, size_t most, size_t *size);
/* A string of at most size - 1 bytes, which the input ends by a zero or a newline. */
void fuzz_string(struct fuzz_in *in, char *text, size_t size);

#endif
