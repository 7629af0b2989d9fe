/* Layers as an input wants them: files and marks of every kind in the directories of tree.h, and names that meet them. */
#ifndef TESTS_FUZZ_HOSTILE_H
#define TESTS_FUZZ_HOSTILE_H

#include "fuzz.h"

/* Lowers, topmost first, the last of them data-only; then the upper and the work directory. */
#define HOSTILE_LOWERS 4
#define HOSTILE_LAYERS 6
extern const char *const hostile_layers[HOSTILE_LAYERS];

#define HOSTILE_NAMES 24
extern const char *const hostile_names[HOSTILE_NAMES];

/* One of the names, mostly of the first five. */
const char *hostile_name(struct fuzz_in *in);
/* One to three of them. */
#define HOSTILE_PATH 1024
void hostile_path(struct fuzz_in *in, char path[HOSTILE_PATH]);
/* The name of a mark, or of another attribute that means something; and some value, whose length is returned. */
#define HOSTILE_VALUE 4200
void hostile_attribute(struct fuzz_in *in, char name[256]);
size_t hostile_value(struct fuzz_in *in, char value[HOSTILE_VALUE]);
/* Puts what the input says into the layers, which are there, up to a zero byte. */
void hostile_lay(struct fuzz_in *in);

#endif
