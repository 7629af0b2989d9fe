/*
 * How option arguments are written. One is split at commas, a list of lower layers at colons; a backslash takes the meaning
 * from the character behind it at both, and is removed last. Double quotes at the beginning of a value (or of a list's
 * item) do the same for all up to the closing one.
 */
#ifndef PLY_OPTIONTEXT_H
#define PLY_OPTIONTEXT_H

/*
 * The end of the piece at s: the first unescaped, unquoted stop, or the end of the string. A quote
 * opens only at the beginning of a piece, or behind its first '=' or a ':'. NULL when it is not
 * closed.
 */
const char *ply_option_piece_end(const char *s, char stop);
/* What s to end means, without quotes and backslashes. The caller frees it; NULL without memory. */
char *ply_option_decode(const char *s, const char *end);

/* The other way: one more word, or name=value, of which value gets its backslashes, to a list with commas. -ENOMEM. */
int ply_option_append(char **list, const char *word);
int ply_option_append_value(char **list, const char *name, const char *value);

#endif
