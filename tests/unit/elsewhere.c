/* Children with less. An old kernel is one that a seccomp filter makes of this one. */
#include "elsewhere.h"

#include <errno.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bed.h"

static int wait_for(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return 1;
	return WEXITSTATUS(status);
}

int run_as_user(int (*group)(void))
{
	char dir[] = "/var/tmp/ply-user-XXXXXX";
	int failed;
	pid_t pid;

	if (geteuid() != 0)
		return group();
	if (!mkdtemp(dir) || chown(dir, 1000, 1000) < 0)
		return 1;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		setenv("TMPDIR", dir, 1);
		if (setgroups(0, NULL) < 0 || setresgid(1000, 1000, 1000) < 0 ||
		    setresuid(1000, 1000, 1000) < 0)
			exit(1);
		exit(group());
	}
	failed = wait_for(pid);
	remove_tree(dir);
	return failed;
}

/* Newer than the headers of some systems; the numbers are the same on every architecture. */
static const int
	newer[] = { 428 /* open_tree */,     437 /* openat2 */,	    439 /* faccessat2 */,
		    442 /* mount_setattr */, 452 /* fchmodat2 */,   463 /* setxattrat */,
		    464 /* getxattrat */,    465 /* listxattrat */, 466 /* removexattrat */ };
#define NEWER (sizeof(newer) / sizeof(newer[0]))

static int forbid_newer_calls(void)
{
	struct sock_filter code[NEWER * 2 + 2];
	struct sock_fprog prog = { .filter = code };
	size_t n = 0;

	code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
						 offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < NEWER; i++) {
		code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							 (unsigned)newer[i], 0, 1);
		code[n++] =
			(struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS);
	}
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	prog.len = (unsigned short)n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

int run_on_old_kernel(int (*group)(void))
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		exit(forbid_newer_calls() < 0 ? 1 : group());
	return wait_for(pid);
}
