#include "base/fileio.h"
#include "core/text/utf8.h"
#include "engine/hash.h"
#include "engine/pairs_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { FLUSH_BYTES = 1 << 20 };

/* ---- one file ---- */

static void file_done(struct pairs_file *f)
{
    if (f->path && f->fd >= 0) close(f->fd);
    if (f->tmp) unlink(f->tmp);
    mem_free(f->path);
    mem_free(f->tmp);
    buf_done(&f->b);
}

static enum err_code file_open(
    struct pairs_file *f, const char *dir, const char *name, size_t text_max, struct err *e)
{
    char tmp[64];
    (void)snprintf(tmp, sizeof tmp, "%s.tmp", name);
    *f = (struct pairs_file){ .fd = -1, .text_max = text_max };
    AUTO_FREE char *tmp_path = path_join(dir, tmp);
    f->path = path_join(dir, name);
    if (!f->path || !tmp_path) return err_set(e, ERR_NOMEM, "no memory for a path");
    f->fd = open(tmp_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (f->fd < 0) return err_errno(e, ERR_IO, errno, "cannot create %s", tmp_path);
    f->tmp = steal_ptr(&tmp_path);
    return ERR_OK;
}

static enum err_code file_flush(struct pairs_file *f, struct err *e)
{
    TRY(buf_check(&f->b, e));
    for (size_t done = 0; done < f->b.n;) {
        ssize_t put = write(f->fd, f->b.p + done, f->b.n - done);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return err_errno(e, ERR_IO, errno, "cannot write %s", f->tmp);
        done += (size_t)put;
    }
    f->b.n = 0;
    return ERR_OK;
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7F;
}

/* One line's worth of text; bytes that are not UTF-8 become question marks. */
static void put_text(struct buf *b, struct str text)
{
    size_t start = b->n, bad_at;
    buf_append(b, text.p, text.n);
    if (b->failed) return;
    for (size_t i = start; i < b->n; i++)
        if (is_control(b->p[i])) b->p[i] = ' ';
    while (!utf8_valid((struct str){ b->p + start, b->n - start }, &bad_at)) {
        start += bad_at;
        b->p[start++] = '?';
    }
}

enum err_code pairs__line(struct pairs_file *f, const struct str *columns, size_t n, struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (i) buf_putc(&f->b, '\t');
        if (columns[i].n) put_text(&f->b, pairs__cut(columns[i], f->text_max));
    }
    buf_putc(&f->b, '\n');
    return f->b.n < FLUSH_BYTES ? buf_check(&f->b, e) : file_flush(f, e);
}

static enum err_code file_sync(struct pairs_file *f, struct err *e)
{
    TRY(file_flush(f, e));
    if (fsync(f->fd) != 0) return err_errno(e, ERR_IO, errno, "cannot sync %s", f->tmp);
    return ERR_OK;
}

static enum err_code file_rename(struct pairs_file *f, struct err *e)
{
    if (rename(f->tmp, f->path) != 0)
        return err_errno(e, ERR_IO, errno, "cannot replace %s", f->path);
    mem_free(f->tmp);
    f->tmp = NULL;
    return ERR_OK;
}

/* ---- both ---- */

enum err_code pairs__files_open(
    struct pairs_files *f, const char *dir, size_t text_max, struct err *e)
{
    *f = (struct pairs_files){ .train.fd = -1, .heldout.fd = -1 };
    TRY(file_open(&f->train, dir, "train.tsv", text_max, e));
    return file_open(&f->heldout, dir, "heldout.tsv", text_max, e);
}

void pairs__files_done(struct pairs_files *f)
{
    file_done(&f->train);
    file_done(&f->heldout);
}

static enum err_code file_hash(
    const struct pairs_file *f, unsigned char ret[CATALOG_HASH_BYTES], struct err *e)
{
    struct file_map map;
    TRY(file_map_open(f->tmp, &map, e));
    hash_content(map.p, map.n, ret);
    file_map_close(&map);
    return ERR_OK;
}

static enum err_code sync_folder(const char *dir, struct err *e)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_errno(e, ERR_IO, errno, "cannot open folder %s", dir);
    int rc = fsync(fd), why = errno;
    close(fd);
    /* EINVAL: a file system that cannot, and need not. */
    if (rc != 0 && why != EINVAL) return err_errno(e, ERR_IO, why, "cannot sync folder %s", dir);
    return ERR_OK;
}

enum err_code pairs__files_publish(
    struct pairs_files *f, const char *dir, char ret_hash[65], struct err *e)
{
    unsigned char both[2 * CATALOG_HASH_BYTES], hash[CATALOG_HASH_BYTES];
    TRY(file_sync(&f->train, e));
    TRY(file_sync(&f->heldout, e));
    TRY(file_hash(&f->train, both, e));
    TRY(file_hash(&f->heldout, both + CATALOG_HASH_BYTES, e));
    TRY(file_rename(&f->heldout, e));
    TRY(file_rename(&f->train, e));
    TRY(sync_folder(dir, e));
    hash_content(both, sizeof both, hash);
    for (size_t i = 0; i < sizeof hash; i++)
        (void)snprintf(ret_hash + 2 * i, 3, "%02x", hash[i]);
    return ERR_OK;
}
