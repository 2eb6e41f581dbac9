/* Layer: base. May include: libc, pthread.
 *
 * Parts of thread_cores() that tests call with a made-up system.
 */
#pragma once

#include <stddef.h>

/**
 * Cores that the cgroup quota of this process leaves, rounded up; 0: no quota.
 *
 * proc_cgroup  text of /proc/self/cgroup
 * root         "/sys/fs/cgroup"; both versions are looked up below it, from the process's own group up to
 *              the root, and the smallest quota counts
 */
unsigned thread__quota_cores(const char *proc_cgroup, const char *root);
