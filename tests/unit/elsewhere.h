/* Running a group of tests in a child process that has less: no privileges, or an old kernel. */
#ifndef TESTS_UNIT_ELSEWHERE_H
#define TESTS_UNIT_ELSEWHERE_H

/* As uid and gid 1000, with a directory of its own for TMPDIR; the number of failed tests. */
int run_as_user(int (*group)(void));
/* Where the calls that came with Linux 5.6 and later are answered by ENOSYS. */
int run_on_old_kernel(int (*group)(void));

#endif
