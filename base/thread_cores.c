/* How many cores this process may use: the smaller of its affinity mask and its cgroup's CPU quota.
 *
 * A container with a quota of 2 on a machine of 64 sees 64 processors; 64 busy threads there would be
 * stopped by the kernel for most of every period. A quota is rounded up: 1.5 cores are worth two threads.
 *
 * cgroup v2: "max 100000" or "150000 100000" in cpu.max. v1: cpu.cfs_quota_us (-1: none) and
 * cpu.cfs_period_us. A group's limit holds for all below it, so every level up to the root is read. Inside a
 * container /proc/self/cgroup may name a folder that is not visible; the levels that are there are used,
 * and the mount's root is always tried.
 */
#include "base/thread_internal.h"

#include "base/thread.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The first bytes of a small file as text; false when it is not there. */
static bool slurp(const char *path, char *ret, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, ret, cap - 1);
    close(fd);
    if (n < 0) return false;
    ret[n] = '\0';
    return true;
}

static unsigned cores_of(long long quota, long long period)
{
    if (quota <= 0 || period <= 0) return 0;
    long long cores = quota / period + (quota % period != 0);
    return cores > INT_MAX ? 0 : (unsigned)cores;
}

static unsigned quota_v2(const char *folder)
{
    char path[PATH_MAX], text[64], *end;
    int n = snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (n < 0 || (size_t)n >= sizeof path || !slurp(path, text, sizeof text)) return 0;
    long long quota = strtoll(text, &end, 10); /* "max": 0 */
    return end == text ? 0 : cores_of(quota, strtoll(end, NULL, 10));
}

static unsigned quota_v1(const char *folder)
{
    char path[PATH_MAX], quota[32], period[32];
    int n = snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    if (n < 0 || (size_t)n >= sizeof path || !slurp(path, quota, sizeof quota)) return 0;
    n = snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    if (n < 0 || (size_t)n >= sizeof path || !slurp(path, period, sizeof period)) return 0;
    return cores_of(strtoll(quota, NULL, 10), strtoll(period, NULL, 10));
}

static unsigned smaller_quota(unsigned a, unsigned b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* The smallest quota from mount/group up to mount. */
static unsigned quota_upwards(
    unsigned (*quota)(const char *folder), const char *mount, const char *group, size_t group_n)
{
    char folder[PATH_MAX];
    size_t base = strlen(mount);
    if (base + group_n + 1 > sizeof folder) return quota(mount);
    memcpy(folder, mount, base);
    memcpy(folder + base, group, group_n);
    folder[base + group_n] = '\0';

    unsigned least = 0;
    for (;;) {
        least = smaller_quota(least, quota(folder));
        char *slash = strrchr(folder + base, '/');
        if (!slash) return least;
        *slash = '\0';
    }
}

/* Is "cpu" one of the comma-separated names? */
static bool names_cpu(const char *list, size_t n)
{
    for (size_t at = 0; at < n;) {
        size_t len = strcspn(list + at, ",:");
        if (len == 3 && memcmp(list + at, "cpu", 3) == 0) return true;
        at += len + 1;
    }
    return false;
}

unsigned thread__quota_cores(const char *proc_cgroup, const char *root)
{
    unsigned least = 0;
    /* Lines "0::/group" (v2) and "4:cpu,cpuacct:/group" (v1). */
    for (const char *line = proc_cgroup; *line;) {
        size_t len = strcspn(line, "\n");
        const char *names = memchr(line, ':', len);
        const char *group = names ? memchr(names + 1, ':', len - (size_t)(names + 1 - line)) : NULL;
        if (group) {
            size_t names_n = (size_t)(group - (names + 1));
            group++;
            size_t group_n = len - (size_t)(group - line);
            if (names_n == 0) {
                least = smaller_quota(least, quota_upwards(quota_v2, root, group, group_n));
            } else if (names_cpu(names + 1, names_n)) {
                char mount[PATH_MAX];
                int n = snprintf(mount, sizeof mount, "%s/cpu", root);
                if (n > 0 && (size_t)n < sizeof mount)
                    least = smaller_quota(least, quota_upwards(quota_v1, mount, group, group_n));
            }
        }
        line += len + (line[len] == '\n');
    }
    return least;
}

static unsigned affinity_cores(void)
{
    /* The mask of a large machine does not fit a cpu_set_t: ask with larger ones. */
    for (int cpus = CPU_SETSIZE; cpus <= 1 << 20; cpus *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        if (!set) return 0;
        size_t size = CPU_ALLOC_SIZE((size_t)cpus);
        int n = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (n > 0) return (unsigned)n;
    }
    return 0;
}

unsigned thread_cores(void)
{
    char groups[8192];
    unsigned cores = affinity_cores();
    unsigned quota = slurp("/proc/self/cgroup", groups, sizeof groups)
        ? thread__quota_cores(groups, "/sys/fs/cgroup")
        : 0;
    if (quota != 0 && (cores == 0 || quota < cores)) cores = quota;
    return cores ? cores : 1;
}
