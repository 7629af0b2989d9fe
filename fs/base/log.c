/* Messages for people. One line each; the level is set before threads start. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

static enum ply_log_level max_level = PLY_LOG_INFO;
static int use_syslog;

static const int syslog_level[] = {
	[PLY_LOG_ERROR] = LOG_ERR,
	[PLY_LOG_WARN] = LOG_WARNING,
	[PLY_LOG_INFO] = LOG_INFO,
	[PLY_LOG_DEBUG] = LOG_DEBUG,
};

void ply_log_set_level(enum ply_log_level level)
{
	max_level = level;
}

void ply_log_to_syslog(const char *ident)
{
	openlog(ident, LOG_PID | LOG_NDELAY, LOG_DAEMON);
	use_syslog = 1;
}

void ply_log(enum ply_log_level level, const char *fmt, ...)
{
	char line[8192];
	va_list ap;

	if (level > max_level)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (use_syslog)
		syslog(syslog_level[level], "%s", line);
	else
		fprintf(stderr, "plyfs: %s\n", line);
}
