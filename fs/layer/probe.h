/* What the file system of an upper can do, tried once when the upper is opened. */
#ifndef PLY_LAYER_PROBE_H
#define PLY_LAYER_PROBE_H

#include "layer/upper.h"

/*
 * Chooses the space of the marks and the form of whiteouts, where cfg leaves that open, and notes in the
 * layer what is lacking. Work is open and empty, and empty again afterwards. Nothing that fails for another
 * reason, a full disk say, counts as lacking. -EOPNOTSUPP where no removed name could be marked.
 */
int ply_upper_probe(struct ply_upper *up, const struct ply_upper_config *cfg);

#endif
