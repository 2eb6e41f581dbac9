/* Notes between the steps of a run. They are written whole or not at all, so what is read needs little doubt;
 * but a note that does not say everything is as good as none. */
#include "engine/train_job_internal.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { NOTE_BYTES_MAX = 4096 };
static const char pairs_name[] = "pairs.txt", earlier_name[] = "earlier.txt",
                  trained_name[] = "trained.txt";

/* What stands after "name " at the begin of a line; p == NULL: no such line. */
static struct str value_of(const char *text, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
        if (strncmp(p, name, n) != 0 || p[n] != ' ') continue;
        return (struct str){ p + n + 1, strcspn(p + n + 1, "\n") };
    }
    return (struct str){ NULL, 0 };
}

static bool read_size(const char *text, const char *name, size_t *ret)
{
    struct str v = value_of(text, name);
    if (v.n == 0 || *v.p < '0' || *v.p > '9') return false;
    *ret = strtoul(v.p, NULL, 10);
    return true;
}

static bool read_double(const char *text, const char *name, double *ret)
{
    struct str v = value_of(text, name);
    if (v.n == 0) return false;
    *ret = strtod(v.p, NULL);
    return true;
}

static char *read_note(const char *folder, const char *name)
{
    AUTO_FREE char *path = path_join(folder, name);
    char *text = NULL;
    size_t n;
    if (!path || file_read(path, NOTE_BYTES_MAX, &text, &n, NULL) != ERR_OK) return NULL;
    return text;
}

static enum err_code write_note(
    const char *folder, const char *name, const struct buf *b, struct err *e)
{
    AUTO_FREE char *path = path_join(folder, name);
    if (!path) return err_set(e, ERR_NOMEM, "no memory for a path");
    TRY(buf_check(b, e));
    return file_write_atomic(path, b->p, b->n, e);
}

bool train_notes__read_pairs(const char *folder, struct pairs_report *ret)
{
    AUTO_FREE char *text = read_note(folder, pairs_name);
    struct pairs_report r = { .source = PAIRS_SOURCE_COUNT };
    if (!text) return false;
    struct str source = value_of(text, "source"), hash = value_of(text, "data_hash");
    for (int i = 0; i < PAIRS_SOURCE_COUNT; i++)
        if (str_is(source, pairs_source_name((enum pairs_source)i)))
            r.source = (enum pairs_source)i;
    if (r.source == PAIRS_SOURCE_COUNT || hash.n >= sizeof r.data_hash) return false;
    if (hash.n) memcpy(r.data_hash, hash.p, hash.n);
    if (!read_size(text, "train", &r.train) || !read_size(text, "heldout", &r.heldout) ||
        !read_size(text, "distractors", &r.distractors) || !read_size(text, "shared", &r.shared))
        return false;
    *ret = r;
    return true;
}

enum err_code train_notes__write_pairs(
    const char *folder, const struct pairs_report *r, struct err *e)
{
    struct buf b = BUF_INIT(0);
    buf_printf(&b, "source %s\ntrain %zu\nheldout %zu\ndistractors %zu\nshared %zu\ndata_hash %s\n",
        pairs_source_name(r->source), r->train, r->heldout, r->distractors, r->shared,
        r->data_hash);
    enum err_code code = write_note(folder, pairs_name, &b, e);
    buf_done(&b);
    return code;
}

void train_notes__read_earlier(const char *folder, struct train_earlier *ret)
{
    AUTO_FREE char *text = read_note(folder, earlier_name);
    struct train_earlier r;
    size_t steps;
    if (!text || !read_size(text, "halvings", &r.halvings) || !read_size(text, "steps", &steps) ||
        !read_double(text, "seconds", &r.seconds))
        return;
    r.steps = (int64_t)steps;
    *ret = r;
}

enum err_code train_notes__write_earlier(
    const char *folder, const struct train_earlier *t, struct err *e)
{
    struct buf b = BUF_INIT(0);
    buf_printf(&b, "halvings %zu\nsteps %lld\nseconds %.17g\n", t->halvings, (long long)t->steps,
        t->seconds);
    enum err_code code = write_note(folder, earlier_name, &b, e);
    buf_done(&b);
    return code;
}

bool train_notes__read_training(const char *folder, struct trainer_report *ret)
{
    AUTO_FREE char *text = read_note(folder, trained_name);
    struct trainer_report r = { .taught = 0 };
    size_t steps;
    if (!text || !read_size(text, "steps", &steps) || !read_double(text, "seconds", &r.seconds) ||
        !read_double(text, "final_loss", &r.final_loss) || !read_size(text, "pairs", &r.pairs) ||
        !read_size(text, "skipped", &r.skipped))
        return false;
    r.steps = (int64_t)steps;
    *ret = r;
    return true;
}

enum err_code train_notes__write_training(
    const char *folder, const struct trainer_report *r, struct err *e)
{
    struct buf b = BUF_INIT(0);
    buf_printf(&b, "steps %lld\nseconds %.17g\nfinal_loss %.17g\npairs %zu\nskipped %zu\n",
        (long long)r->steps, r->seconds, r->final_loss, r->pairs, r->skipped);
    enum err_code code = write_note(folder, trained_name, &b, e);
    buf_done(&b);
    return code;
}

enum err_code train_notes__forget_training(const char *folder, struct err *e)
{
    const char *const names[] = { earlier_name, trained_name };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        AUTO_FREE char *path = path_join(folder, names[i]);
        if (!path) return err_set(e, ERR_NOMEM, "no memory for a path");
        if (unlink(path) != 0 && errno != ENOENT)
            return err_errno(e, ERR_IO, errno, "cannot remove %s", path);
    }
    return ERR_OK;
}
