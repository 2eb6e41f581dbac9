/* Preloaded into a server by `make check-preload`: appends one letter an event to the file $KINDRED_TRACE:
 *   w  a write to SQLite's log (a path that ends in "-wal")
 *   s  an fdatasync or fsync of that log, noted after it has returned
 *   a  bytes sent on a socket, noted before they are
 * so that the order in the file is the order in which a power cut could have fallen between them. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static void note(char event)
{
    static int fd = -2;
    const char *path = getenv("KINDRED_TRACE");

    if (fd == -2) fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) (void)!syscall(SYS_write, fd, &event, 1);
}

static bool is_wal(int fd)
{
    char link[32], path[4096];
    ssize_t n;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path);
    return n >= 4 && !memcmp(path + n - 4, "-wal", 4);
}

static bool is_socket(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* NEXT(write): the real function, looked up once. */
#define NEXT(name)                                                                                 \
    ({                                                                                             \
        static __typeof__(&name) next_;                                                            \
        if (!next_) *(void **)&next_ = dlsym(RTLD_NEXT, #name);                                    \
        next_;                                                                                     \
    })

ssize_t write(int fd, const void *p, size_t n)
{
    if (is_wal(fd)) note('w');
    if (is_socket(fd)) note('a');
    return NEXT(write)(fd, p, n);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
    if (is_wal(fd)) note('w');
    return NEXT(pwrite)(fd, p, n, at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    if (is_wal(fd)) note('w');
    return NEXT(pwrite64)(fd, p, n, at);
}

int fdatasync(int fd)
{
    int r = NEXT(fdatasync)(fd);
    if (r == 0 && is_wal(fd)) note('s');
    return r;
}

int fsync(int fd)
{
    int r = NEXT(fsync)(fd);
    if (r == 0 && is_wal(fd)) note('s');
    return r;
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
    note('a');
    return NEXT(send)(fd, p, n, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    note('a');
    return NEXT(sendmsg)(fd, m, flags);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
    if (is_socket(fd)) note('a');
    return NEXT(writev)(fd, v, n);
}
