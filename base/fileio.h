/* Layer: base. May include: libc, pthread.
 *
 * Whole files: read, map, write atomically. All descriptors are O_CLOEXEC.
 * Errors: NOT_FOUND (ENOENT), LIMIT, FULL, IO, NOMEM; the message names the path.
 * Threads: any.
 */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

/** A read-only mapping of a whole regular file; an empty file maps to p != NULL, n == 0. */
struct file_map {
    const unsigned char *p;
    size_t n;
};
MUST_USE enum err_code file_map_open(const char *path, struct file_map *ret_map, struct err *e);
/** Accepts a zeroed struct. */
void file_map_close(struct file_map *m);

/** The whole file in one mem_alloc'ed block with a NUL after it; ERR_LIMIT above max_bytes. */
MUST_USE enum err_code file_read(
    const char *path, size_t max_bytes, char **ret_p, size_t *ret_n, struct err *e);

/** As file_read for what is no regular file, a pipe say: everything up to its end. `name` is for messages. */
MUST_USE enum err_code stream_read(
    int fd, const char *name, size_t max_bytes, char **ret_p, size_t *ret_n, struct err *e);

/** path.tmp.PID.N, write, fsync, rename, fsync of the folder: after return either the old or the new
 * content is there, whole, also after a power cut. */
MUST_USE enum err_code file_write_atomic(const char *path, const void *p, size_t n, struct err *e);

/** Like `mkdir -p`, mode 0700 for what is created. */
MUST_USE enum err_code dir_make(const char *path, struct err *e);
bool file_exists(const char *path);
bool dir_exists(const char *path);
/** "a/b"; NULL: no memory. Freed with mem_free. */
char *path_join(const char *a, const char *b);

/** An advisory lock that lasts until the process ends or the descriptor is closed: one server per
 * data folder. ERR_CONFLICT when another process holds it. */
MUST_USE enum err_code file_lock(const char *path, int *ret_fd, struct err *e);

/* Little-endian reads from hostile bytes: all check bounds, `failed` is sticky. */
struct le_reader {
    const unsigned char *p;
    size_t n, at;
    bool failed;
};
uint8_t le_u8(struct le_reader *r);
uint16_t le_u16(struct le_reader *r);
uint32_t le_u32(struct le_reader *r);
uint64_t le_u64(struct le_reader *r);
/** n bytes, or NULL. */
const unsigned char *le_bytes(struct le_reader *r, size_t n);
