/* Files. See fileio.h for the contract.
 *
 * An atomic write goes to a file of its own name beside the target: the process id keeps two programs
 * apart, a counter two threads. What a crash leaves behind is a file PATH.tmp.*, never a torn PATH.
 */
#include "base/fileio.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void fd_close(int *fd)
{
    if (*fd >= 0) close(*fd);
}
#define AUTO_FD AUTO(fd_close)

enum { STREAM_FIRST_BYTES = 1 << 16 };

static enum err_code io_error(struct err *e, const char *what, const char *path)
{
    int errnum = errno;
    return err_errno(e, errnum == ENOENT ? ERR_NOT_FOUND : ERR_IO, errnum, "%s %s", what, path);
}

/* Open a regular file for reading. O_NONBLOCK: a FIFO of that name must not hold us up. */
static enum err_code open_regular(const char *path, int *ret_fd, size_t *ret_size, struct err *e)
{
    struct stat st;
    AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return io_error(e, "cannot open", path);
    if (fstat(fd, &st) != 0) return io_error(e, "cannot read", path);
    if (!S_ISREG(st.st_mode)) return err_set(e, ERR_IO, "%s is not a regular file", path);
    *ret_fd = fd;
    *ret_size = (size_t)st.st_size;
    fd = -1;
    return ERR_OK;
}

/* ---- mapping ---- */

enum err_code file_map_open(const char *path, struct file_map *ret_map, struct err *e)
{
    static const unsigned char nothing[1];
    AUTO_FD int fd = -1;
    size_t size;
    TRY(open_regular(path, &fd, &size, e));
    if (size == 0) {
        *ret_map = (struct file_map){ nothing, 0 };
        return ERR_OK;
    }
    void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) return io_error(e, "cannot map", path);
    *ret_map = (struct file_map){ p, size };
    return ERR_OK;
}

void file_map_close(struct file_map *m)
{
    /* munmap takes a pointer to non-const although it changes nothing that we could still see. */
    if (m->n) munmap((void *)(uintptr_t)m->p, m->n);
    *m = (struct file_map){ NULL, 0 };
}

/* ---- reading ---- */

enum err_code file_read(
    const char *path, size_t max_bytes, char **ret_p, size_t *ret_n, struct err *e)
{
    AUTO_FD int fd = -1;
    size_t size, cap;
    TRY(open_regular(path, &fd, &size, e));
    if (size > max_bytes)
        return err_set(
            e, ERR_LIMIT, "%s has %zu bytes, at most %zu are allowed", path, size, max_bytes);
    if (!mem_add(size, 1, &cap)) return err_set(e, ERR_LIMIT, "%s is too large", path);
    AUTO_FREE char *p = mem_alloc(cap, 1);
    if (!p) return err_set(e, ERR_NOMEM, "out of memory reading %s (%zu bytes)", path, size);
    size_t n = 0;
    /* A file that shrinks meanwhile ends early; one that grows is cut at the size it had. */
    while (n < size) {
        ssize_t got = read(fd, p + n, size - n);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return io_error(e, "cannot read", path);
        if (got == 0) break;
        n += (size_t)got;
    }
    p[n] = '\0';
    *ret_p = steal_ptr(&p);
    *ret_n = n;
    return ERR_OK;
}

enum err_code stream_read(
    int fd, const char *name, size_t max_bytes, char **ret_p, size_t *ret_n, struct err *e)
{
    AUTO_FREE char *p = NULL;
    size_t n = 0, cap = 0;
    for (;;) {
        if (n + 1 >= cap) {
            size_t more = cap ? 2 * cap : STREAM_FIRST_BYTES;
            char *grown = mem_realloc(p, more, 1);
            if (!grown) return err_set(e, ERR_NOMEM, "out of memory reading %s", name);
            p = grown;
            cap = more;
        }
        ssize_t got = read(fd, p + n, cap - n - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return io_error(e, "cannot read", name);
        if (got == 0) break;
        n += (size_t)got;
        if (n > max_bytes)
            return err_set(
                e, ERR_LIMIT, "%s has more than the %zu bytes that are allowed", name, max_bytes);
    }
    p[n] = '\0';
    *ret_p = steal_ptr(&p);
    *ret_n = n;
    return ERR_OK;
}

/* ---- writing ---- */

static enum err_code write_all(int fd, const char *path, const void *data, size_t n, struct err *e)
{
    const char *p = data;
    while (n > 0) {
        ssize_t put = write(fd, p, n);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return io_error(e, "cannot write", path);
        p += put;
        n -= (size_t)put;
    }
    if (fsync(fd) != 0) return io_error(e, "cannot sync", path);
    return ERR_OK;
}

/* The folder that holds path, into ret. */
static bool folder_of(const char *path, char ret[PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t n = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (n >= PATH_MAX) return false;
    memcpy(ret, n ? path : ".", n ? n : 1);
    ret[n ? n : 1] = '\0';
    return true;
}

static enum err_code sync_folder(const char *path, struct err *e)
{
    char folder[PATH_MAX];
    if (!folder_of(path, folder)) return err_set(e, ERR_IO, "path too long: %s", path);
    AUTO_FD int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return io_error(e, "cannot open folder", folder);
    /* Some file systems cannot sync a folder and need not: EINVAL says so. */
    if (fsync(fd) != 0 && errno != EINVAL) return io_error(e, "cannot sync folder", folder);
    return ERR_OK;
}

enum err_code file_write_atomic(const char *path, const void *p, size_t n, struct err *e)
{
    static atomic_uint serial;
    char tmp[PATH_MAX];
    int len = snprintf(tmp, sizeof tmp, "%s.tmp.%ld.%u", path, (long)getpid(),
        atomic_fetch_add_explicit(&serial, 1, memory_order_relaxed));
    if (len < 0 || (size_t)len >= sizeof tmp) return err_set(e, ERR_IO, "path too long: %s", path);

    AUTO_FD int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return io_error(e, "cannot create", tmp);
    enum err_code code = write_all(fd, tmp, p, n, e);
    if (code != ERR_OK) goto undo_file;
    if (rename(tmp, path) != 0) {
        code = io_error(e, "cannot replace", path);
        goto undo_file;
    }
    return sync_folder(path, e);

undo_file:
    unlink(tmp);
    return code;
}

/* ---- folders, paths, locks ---- */

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool dir_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

enum err_code dir_make(const char *path, struct err *e)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part) return err_set(e, ERR_IO, "not a usable path: \"%s\"", path);
    memcpy(part, path, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (part[i] != '/' && part[i] != '\0') continue;
        char kept = part[i];
        part[i] = '\0';
        if (mkdir(part, 0700) == 0) {
            TRY(sync_folder(part, e)); /* what is synced inside would be lost with it */
        } else if (errno != EEXIST) {
            int why = errno;
            bool there = dir_exists(part);
            errno = why;
            if (!there) return io_error(e, "cannot make folder", part);
        }
        part[i] = kept;
    }
    if (!dir_exists(path)) return err_set(e, ERR_IO, "%s is not a folder", path);
    return ERR_OK;
}

char *path_join(const char *a, const char *b)
{
    size_t na = strlen(a), nb = strlen(b), n;
    bool slash = na > 0 && a[na - 1] != '/';
    if (!mem_add(na + slash, nb, &n)) return NULL;
    char *p = mem_alloc(n + 1, 1);
    if (!p) return NULL;
    memcpy(p, a, na);
    if (slash) p[na] = '/';
    memcpy(p + na + slash, b, nb + 1);
    return p;
}

enum err_code file_lock(const char *path, int *ret_fd, struct err *e)
{
    AUTO_FD int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return io_error(e, "cannot open lock file", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return err_set(e, ERR_CONFLICT, "%s is locked: another process uses this folder", path);
        return io_error(e, "cannot lock", path);
    }
    *ret_fd = fd;
    fd = -1;
    return ERR_OK;
}

/* ---- little-endian reader ---- */

const unsigned char *le_bytes(struct le_reader *r, size_t n)
{
    if (r->failed || n > r->n - r->at) {
        r->failed = true;
        return NULL;
    }
    const unsigned char *p = r->p + r->at;
    r->at += n;
    return p;
}

static uint64_t le_read(struct le_reader *r, size_t n)
{
    const unsigned char *p = le_bytes(r, n);
    uint64_t v = 0;
    for (size_t i = 0; p && i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint8_t le_u8(struct le_reader *r)
{
    return (uint8_t)le_read(r, 1);
}

uint16_t le_u16(struct le_reader *r)
{
    return (uint16_t)le_read(r, 2);
}

uint32_t le_u32(struct le_reader *r)
{
    return (uint32_t)le_read(r, 4);
}

uint64_t le_u64(struct le_reader *r)
{
    return le_read(r, 8);
}
