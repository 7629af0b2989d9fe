/* Splitting and joining of option arguments, their quotes and backslashes. */
#include "optiontext.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *ply_option_piece_end(const char *s, char stop)
{
	int may_open = 1, equals = 0;

	for (; *s && *s != stop; s++) {
		if (*s == '\\' && s[1]) {
			s++;
			may_open = 0;
			continue;
		}
		if (*s == '"' && may_open) {
			do {
				s += s[0] == '\\' && s[1] ? 2 : 1;
			} while (*s && *s != '"');
			if (!*s)
				return NULL;
		}
		may_open = *s == ':' || (*s == '=' && !equals++);
	}
	return s;
}

char *ply_option_decode(const char *s, const char *end)
{
	char *text = malloc((size_t)(end - s) + 1), *out = text;
	int quoted = s < end && *s == '"';

	if (!text)
		return NULL;
	for (s += quoted; s < end; s++) {
		if (*s == '"' && quoted) {
			quoted = 0;
			continue;
		}
		if (*s == '\\' && s + 1 < end)
			s++;
		*out++ = *s;
	}
	*out = '\0';
	return text;
}

int ply_option_append(char **list, const char *word)
{
	size_t used = *list ? strlen(*list) : 0;
	char *grown = realloc(*list, used + strlen(word) + 2);

	if (!grown)
		return -ENOMEM;
	*list = grown;
	if (used)
		grown[used++] = ',';
	strcpy(grown + used, word);
	return 0;
}

int ply_option_append_value(char **list, const char *name, const char *value)
{
	char *word = malloc(strlen(name) + 2 * strlen(value) + 2), *out;
	int err;

	if (!word)
		return -ENOMEM;
	out = stpcpy(stpcpy(word, name), "=");
	for (; *value; value++) {
		if (*value == ',' || *value == '\\')
			*out++ = '\\';
		*out++ = *value;
	}
	*out = '\0';
	err = ply_option_append(list, word);
	free(word);
	return err;
}
