/* A disk that is full, for the whole process: pwrite is what SQLite writes pages with. The definitions here stand
 * before the C library's, for SQLite too. */
#include "tests/engine/rig.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_bool full;

void fault_disk_full(bool on)
{
    atomic_store(&full, on);
}

static ssize_t write_at(int fd, const void *p, size_t n, off_t at)
{
    if (atomic_load(&full)) {
        errno = ENOSPC;
        return -1;
    }
    return (ssize_t)syscall(SYS_pwrite64, fd, p, n, at);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    return write_at(fd, p, n, at);
}
ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    return write_at(fd, p, n, at);
}
