/*
 * Messages for people: to stderr until the server is in the background, then to syslog.
 * A message names the path and the reason; nothing is logged per request.
 */
#ifndef PLY_BASE_LOG_H
#define PLY_BASE_LOG_H

enum ply_log_level {
	PLY_LOG_ERROR,
	PLY_LOG_WARN,
	PLY_LOG_INFO,
	PLY_LOG_DEBUG,
};

/* Messages above level are dropped; INFO and above by default are not. */
void ply_log_set_level(enum ply_log_level level);
/* From now on to syslog(3), as daemon ident. */
void ply_log_to_syslog(const char *ident);
void ply_log(enum ply_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define ply_error(...) ply_log(PLY_LOG_ERROR, __VA_ARGS__)
#define ply_warn(...) ply_log(PLY_LOG_WARN, __VA_ARGS__)
#define ply_info(...) ply_log(PLY_LOG_INFO, __VA_ARGS__)
#define ply_debug(...) ply_log(PLY_LOG_DEBUG, __VA_ARGS__)

#endif
