/* Names, times and attribute values which layers and operations draw from. */
#include <endian.h>
#include <string.h>

#include "plydiff.h"

/* Few, so that operations meet. */
static const char *const plain_names[] = { "a", "b", "c", "d", "e", "f", "g" };

#define S16 "nnnnnnnnnnnnnnnn"
#define S64 S16 S16 S16 S16

static const char *const odd_names[] = {
	"sp ace",
	"new\nline",
	"\xff\xfe\x80",
	"-rf",
	"\xe5\x90\x8d\xe5\x89\x8d",
	"...",
	".hidden",
	"back\\slash",
	"qu'o\"te",
	"com,ma",
	"co:lon",
	"pct%s%n",
	"#hash",
	".whale",
	"wh.a",
	"a ",
	S64 S64 S64 "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", /* 255 */
};

const char *pd_pool_name(struct pd_rng *rng)
{
	if (pd_chance(rng, 85))
		return plain_names[pd_below(rng, PD_COUNT(plain_names))];
	return odd_names[pd_below(rng, PD_COUNT(odd_names))];
}

struct timespec pd_pick_time(struct pd_rng *rng)
{
	static const long long starts[] = {
		0, 1, -1, -86400, -1500000000, 1000000000, 1234567890, 4102444800, 2147483647,
	};
	struct timespec t = { .tv_sec = starts[pd_below(rng, PD_COUNT(starts))] };

	t.tv_sec += pd_below(rng, 1000);
	t.tv_nsec = pd_chance(rng, 70) ? pd_below(rng, 1000000000) : 0;
	return t;
}

static uint8_t *put16(uint8_t *p, unsigned v)
{
	uint16_t le = htole16((uint16_t)v);

	memcpy(p, &le, sizeof(le));
	return p + sizeof(le);
}

static uint8_t *put32(uint8_t *p, uint64_t v)
{
	uint32_t le = htole32((uint32_t)v);

	memcpy(p, &le, sizeof(le));
	return p + sizeof(le);
}

static uint8_t *put_entry(uint8_t *p, unsigned tag, unsigned perm, uint32_t id)
{
	return put32(put16(put16(p, tag), perm & 7), id);
}

size_t pd_make_acl(uint8_t out[64], uint64_t seed)
{
	enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };
	const uint32_t none = 0xffffffffu;
	struct pd_rng rng = { seed };
	uint8_t *p = put32(out, 2);

	p = put_entry(p, USER_OBJ, 4 | pd_below(&rng, 8), none);
	p = put_entry(p, USER, pd_below(&rng, 8), pd_chance(&rng, 70) ? 1000 : 2000);
	p = put_entry(p, GROUP_OBJ, pd_below(&rng, 8), none);
	if (pd_chance(&rng, 50))
		p = put_entry(p, GROUP, pd_below(&rng, 8), 2000);
	p = put_entry(p, MASK, pd_below(&rng, 8), none);
	p = put_entry(p, OTHER, pd_below(&rng, 8), none);
	return (size_t)(p - out);
}

size_t pd_make_capability(uint8_t out[64], uint64_t seed)
{
	enum { REVISION_2 = 0x02000000, EFFECTIVE = 1 };
	uint8_t *p = put32(out, REVISION_2 | (seed & EFFECTIVE));

	p = put32(p, 1u << (seed % 20)); /* permitted, low */
	p = put32(p, 0);		 /* inheritable, low */
	p = put32(p, 0);
	p = put32(p, 0);
	return (size_t)(p - out);
}
